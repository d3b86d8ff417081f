"""Who speaks to the daemon, as the kernel tells, and what that lets the daemon do with paths that they name. Pure.

libzmq asks the kernel (SO_PEERCRED) when it accepts on an ipc socket, and keeps the answer with the connection:

    Peer-Address    "localhost:UID:GID:PID" over ipc, the address alone over TCP

Invariants
* A uid is what the process had when it connected; what a message says of its sender counts for nothing here.
* None is "not known": over TCP, and where the C library names no address for such a socket (musl). MIXED is a session
  that several users have spoken for: it is nobody's, whoever speaks next.
"""

from __future__ import annotations

import re

MIXED = -1

_ADDRESS = re.compile(r"[^:]*:(\d{1,10}):\d{1,10}:\d{1,10}")


def uid_in(address: str) -> int | None:
    """The user in the Peer-Address of an ipc connection; None where it holds none."""
    found = _ADDRESS.fullmatch(address)
    return int(found[1]) if found else None


def joined(before: int | None, now: int | None) -> int | None:
    """Whose a session is when `now` speaks for it after `before`."""
    if before is None or now is None or before == now:
        return now if before is None else before
    return MIXED


def is_ours(uid: int | None, own: int) -> bool:
    """Whether a user may do whatever the daemon's user `own` may: then paths of theirs can be followed as they are.

    Of everybody else a path would have to be judged when it is followed, and may name another file by then.
    """
    return uid is None or uid in (0, own)


def may_own(uid: int | None, owner: int) -> bool:
    """Whether a file of `owner` can be one that `uid` has put there for the daemon alone to read."""
    return uid is None or uid in (0, owner)
