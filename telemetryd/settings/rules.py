"""The health rules as data, and the setting that switches them and moves their thresholds:

    disk=95, no_progress=off, gpu_memory=99/5min        the last: over 99 % for five minutes

docs/health.md has this table; /metrics and `telemetryd status` count by these names.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client import amounts
from telemetryd.settings import limits

DURATION, PERCENT, KEYS, NONE = "duration", "percent", "keys", "none"
INFO, WARN, ERROR = "INFO", "WARN", "ERROR"


@dataclass(frozen=True)
class Rule:
    """One health rule.

    `title` is the title of its alert. `unit` is that of `threshold`: a duration in seconds, a percentage, names of
    metrics with ":" between, or none. `lasting_s`: what is measured must be over the threshold for so long; `clear` is
    the value at or below which the episode is over (the same unit), where one is measured. `within_s` is how long
    after that the event is there at the latest, with the default periods of sampling. `needs` says what it is fed with.
    """

    name: str
    title: str
    help: str
    needs: str
    unit: str = NONE
    threshold: float | str | None = None
    clear: float | None = None
    lasting_s: float = 0.0
    within_s: float = 15.0
    level: str = WARN
    on: bool = True
    advice: str = ""


RULES: tuple[Rule, ...] = (
    Rule(
        "no_progress", "Training makes no progress",
        "nothing was logged or printed for so long, while neither CPU nor GPU did any work; a GPU that spins at full"
        " utilisation without touching its memory, as in a collective that waits for ever, does none",
        "rows and output of the run; CPU of its processes, utilisation of its GPUs", DURATION, 600.0, None, 0.0, 30.0,
        ERROR, advice="look at the stacks that are saved with the run; `py-spy dump --pid` shows them again",
    ),
    Rule(
        "process_gone", "A training process is gone",
        "a training process ended without `finish()`: by a signal, for want of memory, with an error", "the process",
        within_s=15.0, level=ERROR, advice="the post-mortem in the run's files has what came before",
    ),
    Rule(
        "xid", "A GPU reported an XID error", "the driver reported an XID error of one of the run's GPUs",
        "events of the driver", within_s=5.0, level=ERROR,
    ),
    Rule(
        "ecc", "GPU memory errors", "memory of a GPU was corrupted: double-bit ECC errors, many corrected ones, poison,"
        " memory retired, or a count of uncorrected errors that has risen", "events of the driver, `gpu_health`",
        within_s=15.0, level=ERROR,
    ),
    Rule(
        "gpu_lost", "A GPU does not answer", "a GPU or its driver is lost, or a call to it hangs",
        "events of the driver", within_s=20.0, level=ERROR,
    ),
    Rule(
        "gpu_throttled", "A GPU is slowed down by heat or power",
        "share of this time in which heat, the power supply or the hardware's own protection lowered a GPU's"
        " clocks", "the 1 Hz samples of the GPU", PERCENT, 50.0, 10.0, 120.0, 5.0,
        advice="look at cooling, neighbours and power supply of the machine; `nvidia-smi -q -d PERFORMANCE` tells more",
    ),
    Rule(
        "gpu_power_capped", "A GPU is slowed down by its power limit",
        "share of this time in which the power limit held a GPU's clock below 60 % of its highest",
        "the 1 Hz samples of the GPU", PERCENT, 50.0, 10.0, 120.0, 5.0,
        advice="`nvidia-smi -q -d POWER` shows the limit; somebody may have lowered it",
    ),
    Rule(
        "gpu_memory", "GPU memory is nearly full", "memory in use of a GPU of the run", "the 1 Hz samples of the GPU",
        PERCENT, 98.0, 95.0, 30.0, 5.0,
        advice="a smaller batch, or fewer processes on this GPU; what a framework keeps in its cache counts as used",
    ),
    Rule(
        "host_memory", "The host's memory is nearly full", "memory of the host that is not available",
        "the 1 Hz samples of the host", PERCENT, 95.0, 90.0, 5.0, 5.0,
        advice="the kernel soon kills the largest process; fewer data loader workers take less",
    ),
    Rule(
        "container_memory", "The container's memory is nearly full",
        "working set of the training's control group, of its limit; or of a group above it",
        "the 1 Hz samples of the run", PERCENT, 95.0, 90.0, 5.0, 5.0,
        advice="the kernel kills a process when the limit is reached: raise it, or use less",
    ),
    Rule(
        "shared_memory", "/dev/shm is nearly full", "space used of the training's /dev/shm", "`disk`", PERCENT, 95.0,
        90.0, 0.0, 15.0, advice="data loader workers die with a bus error: docker run --shm-size, or fewer workers",
    ),
    Rule(
        "disk", "A disk is nearly full", "space used where the run, the spool, the state folder or a path of"
        " `sample_paths` lies", "`disk`", PERCENT, 98.0, 96.0, 0.0, 15.0,
        advice="checkpoints and logs will fail: make room, or write elsewhere",
    ),
    Rule(
        "cpu_throttled", "The container's CPU quota stops training",
        "scheduler periods in which its quota, or that of a group above, stopped the training's control group",
        "`container`", PERCENT, 25.0, 10.0, 60.0, 25.0,
        advice="raise the CPU limit, or start fewer data loader workers and threads",
    ),
    Rule(
        "loss_not_finite", "The loss is not finite", "a metric of this name, `*` matching anything, is NaN or infinite",
        "the rows", KEYS, "loss:*/loss:*_loss", None, 0.0, 15.0, ERROR, on=False,
        advice="a lower learning rate, gradient clipping, or a look at the data of this step",
    ),
)  # fmt: skip
"""In the order of the documentation."""

BY_NAME: dict[str, Rule] = {rule.name: rule for rule in RULES}


def parse_rules(value: Any) -> str:
    """Switches and thresholds as "disk=95,no_progress=off": from such a text or, in a file, from a table."""
    if isinstance(value, Mapping):
        pairs = [(str(name), given) for name, given in value.items()]
    elif isinstance(value, str):
        parts = [part.partition("=") for part in value.split(",") if part.strip()]
        pairs = [(name.strip(), given.strip()) for name, _, given in parts]
    else:
        raise ValueError("must be like disk=95,no_progress=off")  # noqa: TRY004 - what settings' parsers raise
    return ",".join(f"{name}={_told(name, given)}" for name, given in pairs)


@dataclass(frozen=True)
class Limit:
    """A rule that is on: its threshold (None where it has none), and for how long that must be exceeded."""

    rule: Rule
    threshold: float | str | None
    lasting_s: float

    @property
    def number(self) -> float:
        """A threshold that is a number. Raises TypeError for one that is none."""
        if not isinstance(self.threshold, float):
            raise TypeError(f"the threshold of {self.rule.name} is no number")
        return self.threshold

    @property
    def clear(self) -> float:
        """The value at which an episode is over: as far below the threshold, in proportion, as the rule says."""
        assert isinstance(self.rule.threshold, float)
        return self.number * (self.rule.clear or 0.0) / self.rule.threshold


def limits_of(text: str) -> dict[str, Limit]:
    """Every rule that is on, by name. `text` is what `parse_rules` gives."""
    given = dict(part.split("=", 1) for part in text.split(",") if part)
    found: dict[str, Limit] = {}
    for rule in RULES:
        said = given.get(rule.name, "on" if rule.on else "off")
        if said != "off":
            found[rule.name] = _limit(rule, said)
    return found


def _told(name: str, given: Any) -> str:
    rule = BY_NAME.get(name)
    if rule is None:
        near = difflib.get_close_matches(name, BY_NAME, n=1)
        raise ValueError(
            f"names {name!r}, " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(BY_NAME)}")
        )
    if isinstance(given, bool) or str(given).lower() in ("on", "off", "true", "false"):
        return "on" if str(given).lower() in ("on", "true") else "off"
    try:
        limit = _limit(rule, given)
    except ValueError as error:
        raise ValueError(f"gives {name} a threshold that {error}") from None
    value = f"{limit.threshold:g}" if isinstance(limit.threshold, float) else str(limit.threshold)
    return value if limit.lasting_s == rule.lasting_s else f"{value}/{limit.lasting_s:g}"


def _limit(rule: Rule, given: Any) -> Limit:
    if given == "on":
        return Limit(rule, rule.threshold, rule.lasting_s)
    if rule.unit == KEYS or not isinstance(given, str) or "/" not in given:
        return Limit(rule, _value(rule, given), rule.lasting_s)
    value, _, lasting = given.partition("/")
    if not rule.lasting_s:
        raise ValueError("does not have to last: there is no '/'")
    lasting_s = amounts.duration_s(lasting, maximum_s=limits.HEALTH_DURATION_MAX_S)
    return Limit(rule, _value(rule, value), lasting_s)


def _value(rule: Rule, given: Any) -> float | str:
    if rule.unit == DURATION:
        seconds = amounts.duration_s(given, maximum_s=limits.HEALTH_DURATION_MAX_S)
        if seconds < limits.HEALTH_DURATION_MIN_S:
            raise ValueError(f"is too short; the shortest is {limits.HEALTH_DURATION_MIN_S:g} s")
        return seconds
    if rule.unit == PERCENT:
        try:
            percent = float(str(given).strip().removesuffix("%"))
        except ValueError:
            raise ValueError("is no percentage; write on, off or a number") from None
        if not 0 < percent <= 100:
            raise ValueError("is no percentage from 0 to 100")
        return percent
    if rule.unit == KEYS:
        names = [name.strip() for name in str(given).split(":") if name.strip()]
        if not names or any("," in name or "=" in name for name in names):
            raise ValueError("is no list of names with ':' between")
        return ":".join(names)
    raise ValueError("does not exist: it is on or off")


def describe(rule: Rule) -> str:
    """The default threshold as a person writes it; "" where the rule has none."""
    value = rule.threshold
    if rule.unit == DURATION and isinstance(value, float):
        return f"{value / 60:g}min" if value % 60 == 0 else f"{value:g}s"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value or "")
