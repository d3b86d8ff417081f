"""Who may bind an endpoint, on real files and sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from telemetryd.bell import Bell
from telemetryd.errors import AlreadyServingError, PlaceError
from telemetryd.reception.endpoint import claim
from telemetryd.reception.socket import RouterSocket


@pytest.fixture
def path(short_path: Path) -> Path:
    return short_path / "run" / "d.sock"


def test_an_endpoint_is_claimed_once_and_free_again_after_release(path: Path) -> None:
    lock = claim(f"ipc://{path}")
    with pytest.raises(AlreadyServingError, match=str(os.getpid())):
        claim(f"ipc://{path}")
    lock.release()
    claim(f"ipc://{path}").release()


def test_a_claim_dies_with_its_process(path: Path) -> None:
    code = (
        "import sys; from telemetryd.reception.endpoint import claim;"
        f" lock = claim('ipc://{path}'); print('claimed', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"claimed\n"
        with pytest.raises(AlreadyServingError, match=str(holder.pid)):
            claim(f"ipc://{path}")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stdin.close()
    claim(f"ipc://{path}").release()


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(PlaceError, match="no socket"):
        claim(f"ipc://{path}")
    assert path.read_text() == "precious"


def test_a_socket_that_another_program_listens_on_is_not_stolen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(AlreadyServingError, match="another program"):
            claim(f"ipc://{path}")


def test_a_socket_file_that_nobody_listens_on_is_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    lock = claim(f"ipc://{path}")
    bell = Bell()
    router = RouterSocket(f"ipc://{path}", bell.fileno())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    router.close()
    bell.close()
    lock.release()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "[::]", "*"])
def test_tcp_beyond_loopback_is_refused(host: str) -> None:
    with pytest.raises(PlaceError, match="beyond this machine"):
        claim(f"tcp://{host}:7077")


@pytest.mark.parametrize("url", ["", "http://x", "ipc://relative", "tcp://localhost", "ipc:///" + "x" * 108])
def test_what_is_no_endpoint_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(PlaceError):
        claim(url)


def test_a_tcp_port_in_use_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        bell = Bell()
        with pytest.raises(AlreadyServingError):
            RouterSocket(f"tcp://127.0.0.1:{other.getsockname()[1]}", bell.fileno())
        bell.close()


def test_a_link_in_place_of_the_lock_is_not_followed(path: Path, short_path: Path) -> None:
    (path.parent / "d.sock.lock").symlink_to(short_path / "elsewhere")
    with pytest.raises(PlaceError):
        claim(f"ipc://{path}")
    assert not (short_path / "elsewhere").exists()


def test_a_default_folder_that_is_a_link_to_somebody_elses_is_refused(short_path: Path) -> None:
    (short_path / "run" / "telemetryd").symlink_to("/usr")
    with pytest.raises(PlaceError):
        claim(f"ipc://{short_path}/run/telemetryd/daemon.sock")
