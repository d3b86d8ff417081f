"""What a launch came to, on stderr: a block for each run with its rows, where it is, what to do next with it, and a
sparkline of each metric.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.report import media_lost_text
from telemetryd.cli import curves
from telemetryd.cli.drain import Outcome
from telemetryd.cli.say import painted, say
from telemetryd.cli.sidecar import Sidecar
from telemetryd.settings.values import format_duration


def tell(outcome: Outcome, sidecar: Sidecar, spool_dir: Path) -> None:
    """Write the summary to stderr."""
    for run in outcome.runs:
        say(headline(run))
        for line in curves.lines(run.get("directory")):
            say(line, mark="  ")
        for label, text in details(run):
            say(f"{painted(f'{label:<8}', 'dim')} {text}", mark="  ")
    for line in remarks(outcome, sidecar, spool_dir):
        say(line)


def headline(run: dict[str, Any]) -> str:
    """One line: which run, how it stands, and its exit code."""
    run_id = run_id_of(run)
    name = str(run.get("name") or run_id)
    who = painted(name, "bold") + (f" ({run_id})" if name != run_id else "")
    code = run.get("exit_code")
    if run.get("state") == "finished":
        how = painted("finished", "green" if code in (0, None) else "red")
    else:
        how = painted("not finished yet", "yellow")
    return f"run {who} {how}" + (f", exit code {code}" if code is not None else "")


def details(run: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines below it, as label and text."""
    yield "rows", rows_of(run)
    if trouble := run.get("trouble"):
        yield "trouble", painted(str(trouble), "yellow")
    if late := run.get("late"):
        yield "late", f"{late:,} rows came with a lower step than one already written; `late_step` holds theirs"
    if lost := run.get("media_lost"):
        yield "media", painted(media_lost_text(lost), "red")
    if url := run.get("url"):
        yield "where", str(url)
    if directory := run.get("directory"):
        yield ("files" if url else "where"), str(directory)
        if run.get("mode") == "offline":
            quoted = shlex.quote(str(directory))
            yield "look", f"{wandb_command()} leet {quoted}"
            yield "upload", f"{wandb_command()} sync {quoted}"


def wandb_command() -> str:
    """How to call wandb's command from here: by its path where an unactivated virtual environment hides its name."""
    beside = Path(sys.executable).with_name("wandb")
    return "wandb" if shutil.which("wandb") or not beside.exists() else shlex.quote(str(beside))


def rows_of(run: dict[str, Any]) -> str:
    """The ledger of a run: offered = delivered + dropped + pending."""
    dropped = run.get("dropped") or {}
    lost = sum(dropped.values())
    pending = int(run.get("pending", 0))
    why = f" ({', '.join(f'{reason} {count:,}' for reason, count in sorted(dropped.items()))})" if lost else ""
    parts = [
        f"{run.get('offered', 0):,} offered = {run.get('delivered', 0):,} delivered",
        painted(f"{lost:,} dropped{why}", "red") if lost else "0 dropped",
        painted(f"{pending:,} pending", "yellow") if pending else "0 pending",
    ]
    return " + ".join(parts)


def run_id_of(run: dict[str, Any]) -> str:
    """The run's id, out of whatever names it."""
    if run.get("run_id"):
        return str(run["run_id"])
    if run.get("key"):
        return str(run["key"]).rpartition("/")[2]
    place = str(run.get("url") or run.get("directory") or "")
    return place.rstrip("/").rpartition("/")[2].rpartition("-")[2] or "?"


def remarks(outcome: Outcome, sidecar: Sidecar, spool_dir: Path) -> Iterator[str]:
    """What is left to be done, and who does it."""
    endpoint = sidecar.settings.endpoint
    if outcome.why == "settled":
        return
    if outcome.why == "unanswered":
        yield painted(f"the daemon at {endpoint} does not answer any more.", "yellow") + (
            f" What was logged is kept in {sidecar.settings.state_dir} and {spool_dir}; `telemetryd serve` delivers it."
        )
        return
    left = [f"{outcome.pending:,} rows"] if outcome.pending else []
    if outcome.spooled:
        left.append(f"the journals of {outcome.spooled} processes" if outcome.spooled > 1 else "a process's journal")
    open_runs = sum(run.get("state") != "finished" for run in outcome.runs)
    if not left and open_runs:
        left.append("the end of the run" if open_runs == 1 else f"the end of {open_runs} runs")
    when = "when interrupted" if outcome.why == "interrupted" else f"after {format_duration(outcome.waited_s)}"
    yield painted(f"{' and '.join(left) or 'something'} still pending {when}.", "yellow") + (
        f" The daemon (process {sidecar.facts.get('pid', '?')}) goes on delivering, or the next one does;"
        " `telemetryd status` shows how far it is."
    )
