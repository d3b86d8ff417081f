"""What a peer is: one way to log a row, and what else it can do.

Light on purpose: the start of a peer is measured over bare Python, and what this module imports would be in it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Log = Callable[[dict[str, Any]], Any]

IMAGE, ARTIFACT, DURABILITY, STOPPED = "image", "artifact", "durability", "stopped"
SCALARS, START, GROWTH = "scalars", "start", "growth"
"""What not every peer can do; a peer is left out of what it does not name in `can`."""


class Peer:
    """One way to log a row. `requirement` is a line of requirements/bench.txt; None: the project's own environment."""

    name = ""
    title = ""
    """The tracker, and the call of it that is measured."""
    requirement: str | None = None
    distribution: str | None = None
    calls_share = 1.0
    """Of the calls of a block: smaller for a peer that takes so long that the others would wait for it."""
    can: frozenset[str] = frozenset()

    def open(self, folder: str) -> Log:
        """Imports the tracker, begins a run that leaves all files in `folder`; the call that is measured."""
        raise NotImplementedError

    def close(self) -> str:
        """Ends the run; one line about what became of the rows, empty when there is nothing to say."""
        return ""

    def image(self, pixels: Any) -> None:
        """Makes an image of (height, width, 3) uint8 and logs it."""
        raise NotImplementedError

    def artifact(self, path: str, name: str) -> None:
        """Logs a file as an artifact; returns when training would go on."""
        raise NotImplementedError

    @staticmethod
    def rows_in(folder: str) -> int:
        """Rows that a run left in `folder`, read after all its processes ended."""
        raise NotImplementedError
