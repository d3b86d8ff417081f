"""What becomes of the values that a job's ranks log: a policy for the run, and others for keys that match patterns.

    main                             the main rank's values are the history; the others' are left out
    aggregate                        as main, and mean, min, max, std, argmin, argmax over the ranks of each number
    all                              as main, and every rank's value as `rank{r}/key`
    main, loss=aggregate, gpu/*=all  the first pattern that matches a key decides; the bare word is for the rest

Patterns are those of fnmatch, matched with case. Pure; client and daemon read the same text.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

import msgspec

MAIN, AGGREGATE, ALL = "main", "aggregate", "all"
NAMES = (MAIN, AGGREGATE, ALL)
TEXT_MAX_CHARS = 4096
_KNOWN_KEYS_MAX = 10_000
"""Keys whose policy is remembered; a run with more is looked up again and again, only slower."""


class RankPolicy(msgspec.Struct, eq=False):
    """A parsed policy. `joins`: rows of several ranks have to be brought together by step."""

    default: str = MAIN
    patterns: tuple[tuple[str, str], ...] = ()
    _known: dict[str, str] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RankPolicy) and self.text() == other.text()

    @property
    def joins(self) -> bool:
        """Whether any key may be something other than the main rank's alone."""
        return self.default != MAIN or any(name != MAIN for _, name in self.patterns)

    def of(self, key: str) -> str:
        """The policy for a key. Keys that begin with an underscore are W&B's and ours: always the main rank's."""
        known = self._known.get(key)
        if known is None:
            known = self._find(key)
            if len(self._known) < _KNOWN_KEYS_MAX:
                self._known[key] = known
        return known

    def _find(self, key: str) -> str:
        if key.startswith("_"):
            return MAIN
        for pattern, name in self.patterns:
            if fnmatch.fnmatchcase(key, pattern):
                return name
        return self.default

    def text(self) -> str:
        """The policy as text that `parse` reads."""
        return ",".join([self.default, *(f"{pattern}={name}" for pattern, name in self.patterns)])


def parse(given: str | Mapping[str, str]) -> RankPolicy:
    """A policy out of its text, or out of a map of patterns to names, where "*" stands for the default.

    Raises ValueError with the part of a message that follows the setting's name.
    """
    if isinstance(given, Mapping):
        entries = [(str(pattern), str(name)) for pattern, name in given.items()]
    elif isinstance(given, str):
        entries = [_entry(part.strip()) for part in given.split(",") if part.strip()]
    else:
        raise ValueError("must be a text or a dict of patterns")  # noqa: TRY004 - settings raise ValueErrors alone
    default, patterns = MAIN, []
    for pattern, name in entries:
        if name not in NAMES:
            raise ValueError(f"must be {', '.join(NAMES[:-1])} or {NAMES[-1]}, or PATTERN=one of them; not {name!r}")
        if "," in pattern or "=" in pattern:
            raise ValueError(f"has the pattern {pattern!r}: write ? where a key has a comma or an equals sign")
        if pattern == "*":
            default = name
        else:
            patterns.append((pattern, name))
    policy = RankPolicy(default, tuple(patterns))
    if len(policy.text()) > TEXT_MAX_CHARS:
        raise ValueError(f"is longer than {TEXT_MAX_CHARS} characters: use wider patterns")
    return policy


def _entry(part: str) -> tuple[str, str]:
    pattern, equals, name = part.rpartition("=")
    return (pattern.strip(), name.strip()) if equals else ("*", part)
