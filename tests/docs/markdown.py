"""The project's Markdown, cut into what can be checked: links, code blocks, names in backticks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]\[]+\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


@cache
def documents() -> tuple[Path, ...]:
    """Every Markdown file of the project."""
    found = list(ROOT.glob("*.md"))
    for folder in ("docs", "client", "telemetryd", "deploy", "tests"):
        found += (ROOT / folder).rglob("*.md")
    return tuple(sorted(found))


def blocks(*languages: str) -> list[Block]:
    """The fenced code blocks in one of these languages."""
    found: list[Block] = []
    for path in documents():
        text = path.read_text()
        found += [
            Block(path, text.count("\n", 0, match.start()) + 2, match["language"], match["text"])
            for match in _FENCE.finditer(text)
            if match["language"] in languages
        ]
    return found


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return _FENCE.sub("", path.read_text())


def links(path: Path) -> list[str]:
    """The targets of a document's links."""
    return [match["target"] for match in _LINK.finditer(prose(path))]


def code(path: Path) -> list[str]:
    """What stands between backticks in a document's prose."""
    return _CODE.findall(prose(path))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    titles = re.findall(r"^#{1,6} +(.+?) *$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
