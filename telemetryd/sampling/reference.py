"""The tables of docs/sampling.md, written from the catalogue and the list of XIDs.

`python -m telemetryd.sampling.reference docs/sampling.md` puts them between the file's marks; a test fails when it
is behind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from telemetryd.sampling.catalogue import of_family
from telemetryd.sampling.metric import Call, FieldValue, Gpm, Metric, Read, Share, Source
from telemetryd.sampling.xid import XIDS
from telemetryd.settings.families import FAMILIES

MARKS = ("metrics", "xids")


def begin(name: str) -> str:
    """The mark before a table."""
    return f"<!-- {name}: written by telemetryd.sampling.reference -->"


def end(name: str) -> str:
    """The mark behind it."""
    return f"<!-- end of {name} -->"


def metrics_table() -> str:
    """Markdown: a table for each family."""
    parts = []
    for family, what in FAMILIES.items():
        lines = [f"### `{family}`", "", f"{what[0].upper()}{what[1:]}.", ""]
        lines += ["| System panel | unit | metric | source | what it is |", "|---|---|---|---|---|"]
        lines += [_row(metric) for metric in of_family(family)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def xids_table() -> str:
    """Markdown: a row for each XID."""
    lines = ["| XID | meaning | fatal | what to do |", "|---|---|---|---|"]
    lines += [
        f"| {code} | {xid.meaning} | {'yes' if xid.fatal else 'no'} | {xid.advice} |" for code, xid in XIDS.items()
    ]
    return "\n".join(lines)


def _row(metric: Metric) -> str:
    ring = " ·" if metric.ring else ""
    names = f"`{metric.name}`{ring}"
    sources = "; else ".join(_source(source) for source in metric.sources)
    return f"| `{metric.wandb}` | {metric.unit} | {names} | {sources} | {metric.help} |"


def _source(source: Source) -> str:
    if isinstance(source, Call):
        arguments = ", ".join(["gpu", *map(str, source.args)])
        part = f".{source.part}" if isinstance(source.part, str) else ""
        part += f", bit {source.bit}" if source.bit is not None else ""
        return f"`{source.function}({arguments})`{part}"
    if isinstance(source, FieldValue):
        return f"field {source.field_id}"
    if isinstance(source, Gpm):
        return f"GPM {source.metric_id}"
    if isinstance(source, Share):
        return f"`{source.of}` / `{source.whole}`"
    assert isinstance(source, Read)
    return source.where


def renewed(document: str) -> str:
    """The document with its tables as they should be. Raises ValueError where marks are missing."""
    for name, table in (("metrics", metrics_table()), ("xids", xids_table())):
        head, mark, rest = document.partition(begin(name))
        _, close, tail = rest.partition(end(name))
        if not mark or not close:
            raise ValueError(f"the document has no {begin(name)!r} … {end(name)!r}")
        document = f"{head}{mark}\n{table}\n{close}{tail}"
    return document


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
