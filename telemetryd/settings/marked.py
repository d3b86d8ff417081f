"""A part of a document that is written from code: what stands between two marks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def renewed(document: str, begin: str, end: str, content: str) -> str:
    """The document with `content` on the lines between its marks. Raises ValueError where the marks are missing."""
    head, found, rest = document.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the document has no {begin!r} … {end!r}")
    return f"{head}{begin}\n{content}\n{end}{tail}"


def rewrite(renew: Callable[[str], str]) -> None:
    """Renew the document that the command line names."""
    path = Path(sys.argv[1])
    path.write_text(renew(path.read_text(encoding="utf-8")), encoding="utf-8")
