"""Whose process speaks, and what that lets the daemon do with paths that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.protocol.messages import Hello, RunSpec
from telemetryd.errors import SessionClaimError
from telemetryd.inbox.database import prepare
from telemetryd.inbox.peers import MIXED, is_ours, joined, may_own, uid_in
from telemetryd.inbox.store import Inbox

SESSION = "5e" * 16


@pytest.mark.parametrize(
    ("address", "uid"),
    [("localhost:1000:1000:4242", 1000), ("localhost:0:0:1", 0), ("127.0.0.1", None), ("::1", None), ("None", None),
     ("fe80::1:2:3", None), ("localhost:99999999999:1:1", None), ("localhost:1:1:1:", None)],
)  # fmt: skip
def test_a_user_is_read_from_the_address_of_an_ipc_connection_and_from_no_other(address: str, uid: int | None) -> None:
    assert uid_in(address) == uid


def test_a_session_that_several_users_have_spoken_for_is_nobody_s_for_ever() -> None:
    assert joined(None, None) is None
    assert joined(None, 5) == joined(5, None) == joined(5, 5) == 5
    assert joined(5, 0) == joined(0, 5) == MIXED
    assert joined(MIXED, 5) == joined(MIXED, None) == MIXED
    assert not is_ours(MIXED, 0)
    assert not may_own(MIXED, 0)


def test_paths_are_followed_for_the_daemon_s_own_user_root_and_where_the_kernel_tells_nothing() -> None:
    assert [is_ours(uid, 1000) for uid in (None, 0, 1000, 1001)] == [True, True, True, False]
    assert [is_ours(uid, 0) for uid in (None, 0, 1000)] == [True, True, False]
    assert [may_own(uid, 1000) for uid in (None, 0, 1000, 1001)] == [True, True, True, False]


def test_a_refused_hello_does_not_spoil_the_session_that_it_claims(tmp_path: Path) -> None:
    prepare(tmp_path / "inbox.sqlite3")
    inbox = Inbox(tmp_path / "inbox.sqlite3")
    with inbox.transaction():
        inbox.intake.hello(Hello(SESSION, run=RunSpec("r"), pid=1, start_time_ns=1), 1, 1000)
    with pytest.raises(SessionClaimError), inbox.transaction():
        inbox.intake.hello(Hello(SESSION, run=RunSpec("r"), pid=2, start_time_ns=2), 2, 1001)
    assert inbox.intake.peer_uid(SESSION) == 1000
    with inbox.transaction():
        inbox.intake.hello(Hello(SESSION, run=RunSpec("r"), pid=1, start_time_ns=1), 3, 1001)
    assert inbox.intake.peer_uid(SESSION) == MIXED
    inbox.close()
