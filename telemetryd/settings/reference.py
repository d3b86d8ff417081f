"""The table of settings in docs/configuration.md, written from fields.py.

`python -m telemetryd.settings.reference docs/configuration.md` puts it between the file's two marks; a test fails when
the file is behind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from telemetryd.settings.fields import FIELDS

BEGIN = "<!-- settings: written by telemetryd.settings.reference -->"
END = "<!-- end of settings -->"


def table() -> str:
    """Markdown: a row for each setting."""
    lines = ["| Config file | Environment | Flag | Default | What it is |", "|---|---|---|---|---|"]
    for field in FIELDS:
        flag = f"{field.flag} {field.metavar}" if field.metavar else field.flag
        default = field.default_text if "`" in field.default_text else f"`{field.default_text}`"
        cells = [f"`{field.name}` ({field.kind})", f"`{field.env}`", f"`{flag}`", default, field.help]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def renewed(document: str) -> str:
    """The document with its table as it should be. Raises ValueError where the marks are missing."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN!r} … {END!r}")
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
