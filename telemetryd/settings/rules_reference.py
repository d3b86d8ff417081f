"""The table of rules in docs/health.md, written from rules.py.

`python -m telemetryd.settings.rules_reference docs/health.md` puts it between the file's two marks; a test fails when
the file is behind.
"""

from __future__ import annotations

from telemetryd.settings import marked
from telemetryd.settings.rules import DURATION, PERCENT, RULES, Rule, describe
from telemetryd.settings.values import format_duration

BEGIN = "<!-- rules: written by telemetryd.settings.rules_reference -->"
END = "<!-- end of rules -->"


def table() -> str:
    """Markdown: a row for each rule."""
    lines = ["| rule | what it finds | fed with | switch and threshold | over at | told within | alert |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [_row(rule) for rule in RULES]
    return "\n".join(lines)


def _row(rule: Rule) -> str:
    threshold = describe(rule) + (f"/{rule.lasting_s:g}s" if rule.lasting_s else "")
    switch = f"`{rule.name}={threshold or 'on'}`" + ("" if rule.on else ", off by default")
    over = f"{rule.clear:g}" if rule.clear is not None else ""
    after = [threshold.partition("/")[2]] if rule.unit == PERCENT and rule.lasting_s else []
    after += [describe(rule)] if rule.unit == DURATION else []
    within = " + ".join([*after, format_duration(rule.within_s)])
    cells = [f"`{rule.name}`", rule.help, rule.needs, switch, over, within, f"{rule.level}: {rule.title}"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def renewed(document: str) -> str:
    """The document with its table as it should be. Raises ValueError where the marks are missing."""
    return marked.renewed(document, BEGIN, END, table())


if __name__ == "__main__":
    marked.rewrite(renewed)
