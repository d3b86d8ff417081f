"""What every test gets: an environment of its own, a check that it left nothing behind, and a real daemon on demand.

`TELEMETRYD_RAISE=1` turns every error that production swallows into a failure. What a test needs of its machine it says
with `require` (tests/support/requirements.py).
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from client import guard
from tests.support import leaks
from tests.support.daemon import Daemon
from tests.support.processes import send

# How long an example takes says something of the machine's other work, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

LEAK_DEADLINE_S = 30.0
"""For what is on its way out when a test ends: a thread that sees its event, a worker that sees its pipe closed."""

SHORT_TEMP = "/tmp"
"""A socket's path holds 107 bytes, and pytest's own folders use up most of them."""


@pytest.fixture(scope="session", autouse=True)
def _pytest_folder_outside_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path_factory.getbasetemp()  # made now, or it would be made in the temporary folder of the first test


@pytest.fixture(autouse=True)
def short_path() -> Iterator[Path]:
    """An empty folder of the test's own with a path short enough for sockets; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="td-", dir=SHORT_TEMP))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_leaks(short_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a thread, file descriptor, process, socket or temporary file behind."""
    before = leaks.take()
    yield
    allowed = request.node.get_closest_marker("leaves_files") is not None

    def left() -> list[str]:
        return leaks.left(before, str(short_path)) + ([] if allowed else leaks.left_files(short_path / "tmp"))

    end = time.monotonic() + LEAK_DEADLINE_S
    while (said := left()) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.02)
    for pid in leaks.left_processes(before, str(short_path)):
        send(pid, signal.SIGKILL)
    if said:
        pytest.fail("the test left behind:\n  " + "\n  ".join(said), pytrace=False)


@pytest.fixture(autouse=True)
def isolated(short_path: Path, no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No variable, key, config file or socket of this machine's user reaches a test, nor the other way round."""
    for name in list(os.environ):
        if name.startswith(("TELEMETRYD_", "WANDB_")):
            monkeypatch.delenv(name)
    folders = {
        "HOME": "home",
        "TMPDIR": "tmp",
        "XDG_RUNTIME_DIR": "run",
        "XDG_STATE_HOME": "state",
        "XDG_CONFIG_HOME": "config",
        "XDG_CACHE_HOME": "cache",
        "XDG_DATA_HOME": "data",
    }
    for name, folder in folders.items():
        (short_path / folder).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(short_path / folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # computed again from TMPDIR at its next use
    monkeypatch.setenv("NETRC", str(short_path / "home" / ".netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens: no test can reach the real W&B
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_DIR", str(short_path / "runs"))
    (short_path / "runs").mkdir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(short_path / "cache" / "torchinductor"))
    monkeypatch.setenv("TELEMETRYD_RAISE", "1")
    monkeypatch.setenv("TELEMETRYD_HTTP", "off")  # its port is one for the machine; tests of it choose their own
    monkeypatch.setenv(leaks.MARK, str(short_path))
    return short_path


@pytest.fixture(autouse=True)
def no_swallowed_errors(isolated: Path) -> Iterator[None]:
    """Fails a test in whose own process telemetry swallowed an error; one that expects it clears `guard.raised`."""
    guard.raised.clear()
    yield
    if guard.raised:
        said = [f"{where}: {error!r}" for where, error in guard.raised]
        guard.raised.clear()
        pytest.fail("swallowed errors:\n  " + "\n  ".join(said), pytrace=False)


@pytest.fixture
def stopped_daemon(isolated: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon's places, with no daemon there yet: `start()` it when the test wants it."""
    daemon = Daemon(
        tmp_path / "daemon",
        f"ipc://{isolated / 'run' / 'telemetryd' / 'daemon.sock'}",
        isolated / "state" / "telemetryd",
        isolated / "state" / "telemetryd" / "spool",
    )
    yield daemon
    daemon.end()


@pytest.fixture
def daemon(stopped_daemon: Daemon) -> Daemon:
    """A running daemon on the places that the test's environment points to."""
    return stopped_daemon.start()
