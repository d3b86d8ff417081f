"""The intended differences from wandb: `differences.toml` as data, and docs/differences.md, which is written from it.

[[difference]]
what = "the ledger in the summary"          a title
at = ["*/summary/_telemetryd*"]             paths (see kept.py) that may differ, as globs
modes = ["offline", "online"]               where; left out: both
scripts = ["late_rows"]                     the only scripts that may show it; left out: any
wandb = "…"                                 what each does
telemetryd = "…"
reason = "…"                                why
shown_by = "plain_loop"                     a script whose runs must show it, so that none stands here for nothing

python -m tests.parity.differences          writes the document
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from telemetryd.settings import marked
from tests.support.toml import load_toml

LIST = Path(__file__).with_name("differences.toml")
DOCUMENT = Path(__file__).parents[2] / "docs" / "differences.md"
BEGIN, END = "<!-- differences: written by tests.parity.differences -->", "<!-- end of differences -->"


@dataclass(frozen=True)
class Difference:
    """See the module's head. Raises TypeError where the list has another field."""

    what: str
    at: tuple[str, ...]
    wandb: str
    telemetryd: str
    reason: str
    shown_by: str
    modes: tuple[str, ...] = ("offline", "online")
    scripts: tuple[str, ...] = ()

    def covers(self, script: str, mode: str, path: str) -> bool:
        """Whether a path may differ."""
        if mode not in self.modes or (self.scripts and script not in self.scripts):
            return False
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.at)


def intended() -> list[Difference]:
    """The list."""
    return [
        Difference(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})
        for entry in load_toml(LIST)["difference"]
    ]


def table() -> str:
    """The list as the document shows it."""
    lines = ["| what | wandb | telemetryd | why |", "|---|---|---|---|"]
    for one in intended():
        where = "" if len(one.modes) == 2 else f" ({one.modes[0]})"
        lines.append(f"| {one.what}{where} | {one.wandb} | {one.telemetryd} | {one.reason} |")
    return "\n".join(lines)


def document() -> str:
    """What the document should say."""
    return marked.renewed(DOCUMENT.read_text(), BEGIN, END, table())


if __name__ == "__main__":
    DOCUMENT.write_text(document())
