"""`telemetryd doctor`: runs the checks and shows what they found. Works with the base installation alone."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from telemetryd.cli import checks, exit_codes, options
from telemetryd.cli.checks import Finding, Level
from telemetryd.cli.status import print_json

_MARKS = {Level.OK: ("✓", "32"), Level.WARNING: ("!", "33"), Level.FAILURE: ("✗", "31")}
_WIDTH_MAX = 120


def run(arguments: argparse.Namespace) -> int:
    """0, or 1 when something does not work. Raises SettingsError."""
    settings = options.loaded(arguments).settings
    findings = list(checks.every(settings, os.environ))
    broken = any(finding.level is Level.FAILURE for finding in findings)
    if arguments.json:
        print_json({"ok": not broken, "findings": [_as_map(finding) for finding in findings]})
    else:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        width = min(shutil.get_terminal_size((_WIDTH_MAX, 24)).columns, _WIDTH_MAX)
        print("\n".join(page(findings, width, coloured=coloured)))
    return exit_codes.FAILED if broken else exit_codes.OK


def page(findings: Sequence[Finding], width: int, *, coloured: bool) -> Iterator[str]:
    """The report's lines: a mark, the subject, what was found, and below it what to do."""
    column = max(len(finding.subject) for finding in findings) + 4
    for finding in findings:
        mark, colour = _MARKS[finding.level]
        lead = f"{_paint(mark, colour, coloured)} {finding.subject:<{column - 2}}"
        first, *rest = _wrapped(finding.text, width - column)
        yield lead + first
        yield from (" " * column + line for line in rest)
        for number, line in enumerate(_wrapped(finding.advice, width - column - 2)):
            yield " " * column + _paint(("→ " if number == 0 else "  ") + line, colour, coloured)
    yield ""
    yield _verdict(findings, coloured)


def _verdict(findings: Sequence[Finding], coloured: bool) -> str:
    failures = sum(finding.level is Level.FAILURE for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if failures:
        return _paint(f"{failures} of {len(findings)} checks failed" + (f", {warnings} warn" if warnings else ""),
                      "31", coloured)  # fmt: skip
    if warnings:
        return _paint(f"it works; {warnings} of {len(findings)} checks warn", "33", coloured)
    return _paint("everything is as it should be", "32", coloured)


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines; paths and commands are not cut, so that they can be copied."""
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)


def _paint(text: str, colour: str, coloured: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if coloured else text


def _as_map(finding: Finding) -> dict[str, str]:
    return {
        "subject": finding.subject,
        "level": finding.level.value,
        "text": finding.text,
        "advice": finding.advice,
    }
