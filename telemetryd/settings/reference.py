"""The table of settings in docs/configuration.md, written from fields.py.

`python -m telemetryd.settings.reference docs/configuration.md` puts it between the file's two marks; a test fails when
the file is behind.
"""

from __future__ import annotations

from telemetryd.settings import marked
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
    return marked.renewed(document, BEGIN, END, table())


if __name__ == "__main__":
    marked.rewrite(renewed)
