"""Every public function of the client with the time within which it returns, whatever the daemon does; and the calls.

    python -m tests.chaos.public_functions GO    connects, waits for the file GO, calls all, prints {name: [s, what]}

Names are "client.x" and "Run.x", found by introspection: one without an entry here has no stated bound, and a test says
so.
"""

from __future__ import annotations

import inspect
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import client
from client import limits
from client.run import Run
from tests.support.trainer import ReadyTime

AT_ONCE_S = 0.05
"""The bound of what waits for nothing: the same as for a single log()."""
GIVEN_S = 1.0
"""The timeout given to what takes one."""
SLACK_S = 1.5
"""Beside a timeout: the sender's thread ends, the spool is put away."""
INIT_S = 0.5
"""The first `init` imports, reads git and makes the first segment."""


@dataclass(frozen=True)
class Bound:
    """What a call may take. `call` gets the run; None: reading the attribute is the call. `last`: it ends the run.
    `asks`: it may wait for a daemon that was connected."""

    seconds: float
    call: Callable[[Any], object] | None = None
    last: bool = False
    asks: bool = False


ASKED_S = limits.ANSWER_TIMEOUT_S + SLACK_S
ASKED = Bound(ASKED_S, asks=True)
FINISH = GIVEN_S + SLACK_S

BOUNDS: dict[str, Bound] = {
    "client.init": Bound(INIT_S, lambda run: client.init(id="bounds-init", reinit="create_new")),
    "client.finish": Bound(FINISH, lambda run: client.finish(timeout_s=GIVEN_S), last=True),
    "client.join": Bound(FINISH, lambda run: client.join(timeout_s=GIVEN_S), last=True),
    "client.log": Bound(AT_ONCE_S, lambda run: client.log({"x": 1})),
    "client.define_metric": Bound(AT_ONCE_S, lambda run: client.define_metric("x")),
    "client.login": Bound(AT_ONCE_S, lambda run: client.login()),
    "client.before_init": Bound(AT_ONCE_S, lambda run: client.before_init("wandb.x")),
    "client.setup": Bound(AT_ONCE_S, lambda run: client.setup()),
    "client.teardown": Bound(limits.FINISH_TIMEOUT_S + SLACK_S, lambda run: client.teardown(), last=True),
    "client.require": Bound(AT_ONCE_S, lambda run: client.require("core")),
    "client.ensure_configured": Bound(AT_ONCE_S, lambda run: client.ensure_configured()),
    "client.termsetup": Bound(AT_ONCE_S, lambda run: client.termsetup(client.Settings(), None)),
    "Run.log": Bound(AT_ONCE_S, lambda run: run.log({"x": 1})),
    "Run.define_metric": Bound(AT_ONCE_S, lambda run: run.define_metric("x")),
    "Run.write_logs": Bound(AT_ONCE_S, lambda run: run.write_logs("text")),
    "Run.flush": Bound(GIVEN_S + 0.2, lambda run: run.flush(timeout_s=GIVEN_S)),
    "Run.finish": Bound(FINISH, lambda run: run.finish(timeout_s=GIVEN_S), last=True),
    "Run.url": ASKED,
    "Run.project_url": ASKED,
    "Run.dir": ASKED,
    "Run.sync_dir": ASKED,
    "Run.to_html": Bound(ASKED_S, lambda run: run.to_html(), asks=True),
    "Run.display": Bound(AT_ONCE_S, lambda run: run.display()),
    "Run.status": Bound(AT_ONCE_S, lambda run: run.status()),
    "Run.config": Bound(AT_ONCE_S, lambda run: run.config.update({"x": 1})),
    "Run.summary": Bound(AT_ONCE_S, lambda run: run.summary.update({"x": dict(run.summary)})),
}
_GRID = {"method": "grid", "parameters": {"x": {"values": [1]}}}
BOUNDS["client.sweep"] = Bound(limits.SWEEP_ASK_TIMEOUT_S + SLACK_S, lambda run: client.sweep(_GRID), asks=True)
BOUNDS["client.agent"] = Bound(
    limits.SWEEP_ASK_TIMEOUT_S + SLACK_S, lambda run: client.agent("sweep", lambda: None), asks=True
)
for _name in ("termlog", "termwarn", "termerror"):
    BOUNDS[f"client.{_name}"] = Bound(AT_ONCE_S, lambda run, name=_name: getattr(client, name)("said"))

_ACTIONS: dict[str, tuple[Any, ...]] = {
    "alert": ("title", "text"),
    "mark_preempting": (),
    "pin_config_keys": (["x"],),
    "save": (__file__,),
    "unwatch": (),
    "watch": (object(),),
}
"""Calls that are the run's and the module's."""
for _name, _given in _ACTIONS.items():
    BOUNDS[f"client.{_name}"] = Bound(AT_ONCE_S, lambda run, name=_name, given=_given: getattr(client, name)(*given))
    BOUNDS[f"Run.{_name}"] = Bound(AT_ONCE_S, lambda run, name=_name, given=_given: getattr(run, name)(*given))
for _name in ("config_static", "disabled", "entity", "group", "id", "job_type", "offline", "path", "project", "resumed",
              "settings", "start_time", "starting_step", "step", "sweep_id", "sweep_url"):  # fmt: skip
    BOUNDS[f"Run.{_name}"] = Bound(AT_ONCE_S)
BOUNDS["Run.name"] = Bound(AT_ONCE_S, lambda run: setattr(run, "name", "x"))
BOUNDS["Run.notes"] = Bound(AT_ONCE_S, lambda run: setattr(run, "notes", "x"))
BOUNDS["Run.tags"] = Bound(AT_ONCE_S, lambda run: setattr(run, "tags", ("x",)))
_ARTIFACTS: dict[str, Callable[[Any], object]] = {
    "log_artifact": lambda owner: owner.log_artifact(__file__, name="a"),
    "log_model": lambda owner: owner.log_model(__file__, name="m"),
    "link_model": lambda owner: owner.link_model(__file__, "shelf", name="m"),
}
"""Calls that stage a small file, and return at once."""
for _name, _call in _ARTIFACTS.items():
    BOUNDS[f"client.{_name}"] = Bound(AT_ONCE_S, lambda run, call=_call: call(client))
    BOUNDS[f"Run.{_name}"] = Bound(AT_ONCE_S, lambda run, call=_call: call(run))
for _name in ("upsert_artifact", "finish_artifact"):
    BOUNDS[f"Run.{_name}"] = Bound(
        AT_ONCE_S, lambda run, name=_name: getattr(run, name)(__file__, name="d", distributed_id="g")
    )
BOUNDS["Run.link_artifact"] = Bound(
    AT_ONCE_S, lambda run: run.link_artifact(client.Artifact("l", "model"), "registry/shelf")
)
for _name in ("use_artifact", "use_model"):
    _use = Bound(GIVEN_S + SLACK_S, lambda run, name=_name: getattr(run, name)("a:latest", timeout=GIVEN_S), asks=True)
    BOUNDS[f"Run.{_name}"] = BOUNDS[f"client.{_name}"] = _use
for _name in ("config_static", "disabled", "entity", "group", "id", "job_type", "offline", "path", "project", "resumed",
              "settings", "start_time", "starting_step", "step", "sweep_id", "sweep_url"):  # fmt: skip
    BOUNDS[f"Run.{_name}"] = Bound(AT_ONCE_S)
BOUNDS["Run.name"] = Bound(AT_ONCE_S, lambda run: setattr(run, "name", "x"))
BOUNDS["Run.notes"] = Bound(AT_ONCE_S, lambda run: setattr(run, "notes", "x"))
BOUNDS["Run.tags"] = Bound(AT_ONCE_S, lambda run: setattr(run, "tags", ("x",)))
_BOX = {"center": [0, 0, 0], "size": [1, 1, 1], "orientation": [0, 0, 0, 1], "color": [0, 0, 0]}
BOUNDS["client.box3d"] = Bound(AT_ONCE_S, lambda run: client.box3d(**_BOX))
BOUNDS["client.plot_table"] = Bound(
    AT_ONCE_S, lambda run: client.plot_table("wandb/bar/v0", client.Table(["a"], [[1]]), {"value": "a"})
)
BOUNDS["client.restore"] = Bound(
    GIVEN_S + SLACK_S, lambda run: client.restore("x", "e/p/r", root="/nowhere", timeout=GIVEN_S), asks=True
)
BOUNDS["Run.restore"] = Bound(
    GIVEN_S + SLACK_S, lambda run: run.restore("x", "e/p/r", root="/nowhere", timeout=GIVEN_S), asks=True
)
BOUNDS["Run.log_code"] = Bound(AT_ONCE_S, lambda run: run.log_code(str(Path(__file__).parent), name="code"))
BOUNDS["client.visualize"] = Bound(AT_ONCE_S, lambda run: client.visualize("id", client.Table(["a"], [[1]])))


def public_names() -> set[str]:
    """Every public function of the module, and every public method and property of Run; classes apart."""
    functions = {
        f"client.{name}"
        for name in dir(client)
        if not name.startswith("_") and callable(value := getattr(client, name)) and not inspect.isclass(value)
        if value is not Any
    }
    return functions | {f"Run.{name}" for name in dir(Run) if not name.startswith("_")} | {"Run.summary"}


def bounds() -> dict[str, Bound]:
    """The stated bounds."""
    return BOUNDS


def call(name: str, bound: Bound, run: Run) -> tuple[float, str]:
    """(seconds, what it returned or raised). In the main thread without the time that other processes had the cores."""
    ready = ReadyTime(of_main_thread=threading.current_thread() is threading.main_thread())
    ready_ns = ready.ns()
    begun_s = time.perf_counter()
    try:
        result = bound.call(run) if bound.call else getattr(run, name.partition(".")[2])
    except Exception as error:
        result = error
    took_s = time.perf_counter() - begun_s
    return max(0.0, took_s - (ready.ns() - ready_ns) / 1e9), repr(result)[:200]


def main() -> None:
    go = Path(sys.argv[1])
    run = client.init(id="bounds", mode="online")
    run.log({"x": 0})
    run.flush(timeout_s=2.0)
    run.log({"x": 0})
    print("ready", flush=True)
    while not go.exists():
        time.sleep(0.01)
    run.log({"x": 1})
    told: dict[str, tuple[float, str]] = {}
    at_once = {name: bound for name, bound in bounds().items() if not bound.asks and not bound.last}
    for name, bound in at_once.items():
        told[name] = call(name, bound, run)
    waiting = [  # all at the same time, since each may wait as long as it may
        threading.Thread(target=lambda name=name: told.update({name: call(name, bounds()[name], run)}))
        for name, bound in bounds().items()
        if bound.asks
    ]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    # The run that had a daemon, where there was one; the others never had.
    told["Run.finish"] = call("Run.finish", BOUNDS["Run.finish"], run)
    for name, bound in bounds().items():
        if bound.last and name not in told:
            fresh = client.init(id=f"bounds-{name}", reinit="finish_previous")
            fresh.log({"x": 1})
            told[name] = call(name, bound, fresh)
    for left in list(client.api._active):
        left.finish(timeout_s=0)
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
