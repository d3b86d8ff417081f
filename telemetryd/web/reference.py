"""The table of metrics in docs/operations.md, written from families.py.

`python -m telemetryd.web.reference docs/operations.md` puts it between the file's two marks; a test fails when the
file is behind.
"""

from __future__ import annotations

from telemetryd.settings import marked
from telemetryd.web.families import OWN

BEGIN = "<!-- metrics: written by telemetryd.web.reference -->"
END = "<!-- end of metrics -->"


def table() -> str:
    """Markdown: a row for each family about telemetryd itself."""
    lines = ["| metric | labels | what it is |", "|---|---|---|"]
    for family in OWN:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {labels} | {family.help} |")
    return "\n".join(lines)


def renewed(document: str) -> str:
    """The document with its table as it should be. Raises ValueError where the marks are missing."""
    return marked.renewed(document, BEGIN, END, table())


if __name__ == "__main__":
    marked.rewrite(renewed)
