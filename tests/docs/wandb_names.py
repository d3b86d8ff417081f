"""Every public name of wandb 0.31, and whether it is here; docs/wandb-names.md is written from it.

    python -m tests.docs.wandb_names

`yes`: as in wandb, with the same arguments. `differs`: here, otherwise than in wandb. `no`: not here. A name of the
module that is to come stands in TO_COME: once it is there, take it out and write the document again.
"""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import client
from client.names import NEVER
from client.run import Run
from telemetryd.settings import marked

DOCUMENT = Path(__file__).parents[2] / "docs" / "wandb-names.md"
BEGIN, END = "<!-- names: written by tests.docs.wandb_names -->", "<!-- end of names -->"

TO_COME: frozenset[str] = frozenset()
"""Names of the module that are not there yet."""

MODULE_DIFFERS = {
    "__version__": "telemetryd's version",
    "agent": "stops by a KeyboardInterrupt; without `function` it starts the program itself; see docs/sweeps.md",
    "sweep": "the daemon asks W&B; raises offline",
    "Api": "asks through the daemon; artifacts only",
    "Artifact": "also the handle of its upload: `staged`, `done`, `progress`, `error`",
    "CommError": "also what an unreachable daemon raises, where an answer is needed",
    "Config": "made by `init` only; takes no settings",
    "Run": "made by `init` only",
    "Settings": "an unset setting reads as None; takes `on_full`, `on_drop` and its like, too",
    "UsageError": "`ConfigError` and `SettingError` are kinds of it",
    "link_model": "returns at once, with a handle",
    "log_artifact": "as of a run",
    "log_model": "returns the artifact",
    "use_artifact": "takes `timeout`",
    "use_model": "takes `timeout`",
    "config": "while no run is active an object that says so, as in wandb",
    "Table": "numbers taken from numpy arrays and pandas columns are Python's in `data`; see docs/tables.md",
    "data_types": "the media types",
    "ensure_configured": "says that credentials are the daemon's",
    "errors": "the error classes; messages on the terminal are in `client.term`",
    "finish": "returns the ledger, and takes `timeout_s`",
    "helper": "`parse_config` only",
    "init": 'returns at once; refuses `fork_from`, `sync_tensorboard`, `monitor_gym`, `mode="shared"`',
    "join": "as `finish`",
    "plot": "`roc_curve` and `pr_curve` are computed by the daemon: their table is not known here",
    "login": "true without a key, which goes nowhere: the daemon has it",
    "restore": "as `Run.restore`",
    "save": "as `Run.save`",
    "setup": "gives settings to later runs; starts no process",
    "summary": "while no run is active an object that says so, as in wandb",
    "termsetup": "the logger's `log` is called",
    "util": "has `generate_id`, `make_artifact_name_safe`, `get_module` and a few more",
}
"""Names of the module that are here and differ: how."""

MODULE_NO = {
    "api": "the account and the key are the daemon's; `client.api.api_key` says so",
}
"""Names of the module that are not here, beside client/names.py: why."""

COINCIDES = frozenset({"api"})
"""Names that are not here as what they are in wandb, though `client` has a module of this name."""

RUN_DIFFERS = {
    "dir": "the run's folder beside the daemon; may wait 10 s for the daemon to say it",
    "link_artifact": "returns at once, with a handle",
    "link_model": "returns at once, with a handle",
    "log_artifact": "files are what they are at the call, not at `add_file`; a failure is told by the handle",
    "log_model": "returns the artifact",
    "upsert_artifact": "as `log_artifact`",
    "finish_artifact": "as `log_artifact`",
    "use_artifact": "takes `timeout`",
    "use_model": "takes `timeout`",
    "display": "only where IPython has been imported",
    "finish": "returns the ledger of rows; ends within `timeout_s`",
    "name": "None until W&B has made one up",
    "project_url": "None offline, or when no daemon says it in time",
    "settings": "a copy of what the run was given",
    "restore": "a file that is there is opened without asking W&B; takes `timeout`",
    "save": "the paths returned are where the daemon puts the files; small files live on when they are removed",
    "starting_step": "0 until the daemon has said it",
    "resumed": "false until the daemon has said it",
    "entity": "empty until the daemon has said it, where it was not given",
    "status": "counts rows; does not wait",
    "sync_dir": "as `dir`",
    "sweep_url": "as `url`",
    "to_html": "the run's name where no URL is known",
    "url": "None offline, or when no daemon says it in time",
    "watch": "the histograms are computed by a thread",
}
"""Names of a run that differ: how."""

Row = tuple[str, str, str]


@functools.cache
def wandbs_names() -> list[str]:
    """Public names of wandb's module, as `import wandb` gives them: who imports wandb.docker adds a name to it."""
    told = subprocess.run(
        [sys.executable, "-c", "import wandb; print(*dir(wandb))"], capture_output=True, text=True, check=True
    )
    public = {name for name in told.stdout.split() if not name.startswith("_") and name != "annotations"}  # __future__
    return sorted(public | {"Api", "__version__"})


def runs_names() -> list[str]:
    """Public names of wandb's Run."""
    import wandb

    return sorted(name for name in dir(wandb.Run) if not name.startswith("_"))


def module_rows() -> list[Row]:
    """(name, yes, differs or no, how or why) of the module."""
    rows = []
    for name in wandbs_names():
        if name in TO_COME:
            rows.append((name, "no", "to come"))
        elif name in NEVER or name in MODULE_NO:
            rows.append((name, "no", MODULE_NO.get(name) or NEVER[name]))
        else:
            rows.append((name, "differs" if name in MODULE_DIFFERS else "yes", MODULE_DIFFERS.get(name, "")))
    return rows


def run_rows() -> list[Row]:
    """The same of a run."""
    return [(name, "differs" if name in RUN_DIFFERS else "yes", RUN_DIFFERS.get(name, "")) for name in runs_names()]


def arguments(value: Any) -> list[str] | None:
    """The names of what it takes; None for what takes nothing."""
    if not callable(value):
        return None
    try:
        return list(inspect.signature(value).parameters)
    except ValueError:
        return None


def here(name: str) -> bool:
    """Whether the client's module has it."""
    return hasattr(client, name) and name not in COINCIDES


def of_run(name: str) -> Any:
    """The client's, of a run."""
    return getattr(Run, name, None)


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = ["| name | here | how, or why not |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {status} | {note} |" for name, status, note in rows)])


def document() -> str:
    """The document with its tables written anew."""
    tables = f"## The module\n\n{table(module_rows())}\n\n## A run\n\n{table(run_rows())}"
    return marked.renewed(DOCUMENT.read_text(), BEGIN, END, tables)


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    print(DOCUMENT)
