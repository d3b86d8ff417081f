"""What the others are measured against: nothing at all, and the encoding of the row."""

from __future__ import annotations

from tests.bench.peers.base import GROWTH, SCALARS, START, Peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tests.bench.peers.base import Log


class Silent:
    """A run whose `log` is a bound method, as the others' are."""

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        return None


class Encoding:
    """The one thing that a tracker cannot do without as long as the caller encodes."""

    def __init__(self) -> None:
        from msgspec.msgpack import Encoder

        self.encode = Encoder(enc_hook=_plain).encode

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> bytes:
        return self.encode(data)


def _plain(value: Any) -> Any:
    """What msgspec does not know: numpy's and torch's scalars."""
    return value.item()


class NoOp(Peer):
    """A call that does nothing: what the measurement itself costs."""

    name = title = "a call that does nothing"
    can = frozenset({SCALARS, START})

    def open(self, folder: str) -> Log:
        return Silent().log


class Encode(Peer):
    """msgspec's encoding of the row alone, called as `log` is."""

    name = "encode alone"
    title = "msgspec encode alone"
    can = frozenset({GROWTH, SCALARS})

    def open(self, folder: str) -> Log:
        return Encoding().log
