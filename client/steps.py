"""How wandb numbers steps, as a pure state machine: a `log` call goes in, its step comes out.

    next    the step that the next call without one belongs to
    open    the keys of the row at `next`, while it waits for more (`commit=False`, or a step given without commit)

A call without a step goes to `next` and closes the row, unless `commit=False`. A given step above `next` moves there;
one below is late: it changes nothing here. As in wandb, except: a call without a step that brings a key which the open
row has already starts the next row, where wandb would lose the older value.

Once the caller has given a step, the steps numbered from it count as given too: they must not be moved when a resumed
run begins elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

from client.fastlog import Counter

UNNUMBERED_KEYS = frozenset({"_step", "_timestamp", "_runtime"})
"""Keys that wandb makes itself: two calls that both bring one do not overlap."""


class Numbered(NamedTuple):
    """What `Steps.number` returns, by name. `late`: below a step that came before."""

    step: int
    closes: bool
    explicit: bool
    late: bool


class Steps(Counter):
    """See the module's head."""

    __slots__ = ("explicit", "open")

    def __init__(self, start: int = 0, *, given: bool = False) -> None:
        """`given`: the caller has named `start`."""
        self.next = start
        self.open: tuple[str, ...] | None = None
        self.explicit = given

    @property
    def is_plain(self) -> bool:
        """Whether a call without step and commit simply takes `next`, closes it, and leaves `next` one higher."""
        return self.open is None and not self.explicit

    def number(self, keys: tuple[str, ...], step: int | None, commit: bool | None) -> tuple[int, bool, bool, bool]:
        """Number one call with these top-level keys; the fields of Numbered."""
        if step is None:
            closes = commit is None or commit
            if self.open is not None and _overlap(self.open, keys):
                self.next += 1
                self.open = None
        else:
            closes = bool(commit)
            if step < self.next:
                return step, closes, True, True
            self.explicit = True
            if step > self.next:
                self.next = step
                self.open = None
        number = self.next
        if closes:
            self.next = number + 1
            self.open = None
        else:
            self.open = keys if self.open is None or self.open == keys else tuple({*self.open, *keys})
        return number, closes, self.explicit, False


def _overlap(open_keys: tuple[str, ...], keys: tuple[str, ...]) -> bool:
    return not set(open_keys).isdisjoint(set(keys) - UNNUMBERED_KEYS)
