"""sd_notify: what is said when, and that nothing is said where nobody listens."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetryd.supervision.service_manager import ServiceManager


@pytest.fixture
def manager(short_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(short_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(listening: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(listening.recv(4096).decode())
        except BlockingIOError:
            return said


def of(listening: socket.socket, **more: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": listening.getsockname(), **more})


def test_ready_and_stopping_are_said_once_each(manager: socket.socket) -> None:
    service = of(manager)
    service.ready()
    service.stopping()
    assert heard(manager) == [f"READY=1\nMAINPID={os.getpid()}", "STOPPING=1"]


def test_a_watchdog_is_fed_thrice_in_its_period_while_every_thread_turns(manager: socket.socket) -> None:
    service = of(manager, WATCHDOG_USEC="30000000")
    assert service.patience_s == 30
    for tenth_s in range(600):
        service.alive(tenth_s / 10, tenth_s / 10)
    assert heard(manager) == ["WATCHDOG=1"] * 6


def test_a_watchdog_hears_nothing_while_a_thread_is_stuck_and_again_when_it_goes_on(manager: socket.socket) -> None:
    service = of(manager, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    service.alive(100.0, 84.0)
    assert heard(manager) == []
    service.alive(101.0, 101.0)
    assert heard(manager) == ["WATCHDOG=1"]


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(manager: socket.socket) -> None:
    service = of(manager, WATCHDOG_USEC="30000000", WATCHDOG_PID="1")
    service.alive(100.0, 100.0)
    assert heard(manager) == []


def test_an_abstract_address_is_understood() -> None:
    name = f"telemetryd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert listening.recv(100) == b"STOPPING=1"


def test_without_a_manager_nothing_is_said_and_a_deaf_one_is_complained_of_once(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager({}).ready()
    deaf = ServiceManager({"NOTIFY_SOCKET": str(short_path / "nobody"), "WATCHDOG_USEC": "3000000"})
    with caplog.at_level(logging.WARNING):
        deaf.ready()
        deaf.alive(10.0, 10.0)
    assert caplog.text.count("service_manager_not_told") == 1


def test_children_do_not_inherit_the_right_to_speak(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environ)
    assert environ == {"HOME": "/"}
