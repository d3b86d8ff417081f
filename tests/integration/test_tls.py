"""W&B over https, by a certificate of an authority of one's own: the limit on uploads, and what is not trusted."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs.errors import ServerSilentError
from telemetryd.runs.wandb_server import Server
from tests.standin import fixture
from tests.standin.client import Standin
from tests.support.certificates import Authority
from tests.support.processes import running, wait_until
from tests.support.upload_beside import training, upload_took_s, wait_for_rows_before_the_file
from tests.support.world import World
from tests.support.worlds import world

__all__ = ["world"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")

SIZE = 8_000_000
RATE = 2_000_000
UPLOAD = training(SIZE, 'run.use_artifact("r:latest").download(root="got")')


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom this machine's user trusts is no part of a test."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> ssl.SSLContext:
    """What the stand-in shows."""
    return authority.server()


@pytest.fixture
def standin(tls: ssl.SSLContext) -> Iterator[Standin]:
    with fixture.running(tls=tls) as server:
        assert server.url.startswith("https://")
        yield server
        assert not server.unknown_operations()


def train(world: World, source: str, name: str) -> Any:
    """A training process in a folder of its own, and that folder; ended with the block."""
    work = world.folder / name
    work.mkdir()
    environment = world.environment | {"PYTHONPATH": os.fspath(Path.cwd())}
    return running([sys.executable, "-c", source, "r"], world.folder / f"{name}.told", env=environment, cwd=work)


def test_over_tls_an_upload_is_whole_and_at_the_limit_while_rows_and_downloads_are_not_held(
    world: World, standin: Standin, authority: Authority
) -> None:
    world.environment["SSL_CERT_FILE"] = str(authority.file)
    world.start_daemon("--upload-max", f"{RATE / 1e6}MB/s")
    with train(world, UPLOAD, "work") as trainer:
        wait_for_rows_before_the_file(standin, "r")
        assert trainer.wait(100) == 0, f"{trainer.told()}\n{world.worker_logs()}"
    world.wait_settled()

    content = (world.folder / "work" / "m.pt").read_bytes()
    (stored,) = [a for a in standin.artifacts() if a["name"] == "r"]
    assert stored["state"] == "COMMITTED"
    assert stored["contents"]["m.pt"]["digest"] == base64.b64encode(hashlib.md5(content).digest()).decode()
    assert (world.folder / "work" / "got" / "m.pt").read_bytes() == content

    assert SIZE / RATE - 0.1 <= upload_took_s(standin) < 3 * SIZE / RATE + 20
    manifest, file = (r["at"] for r in standin.requests("download:artifact"))
    assert file - manifest < SIZE / RATE / 2, "what comes from W&B has no limit"


ROWS = 3
LOG = f"""
import client as wandb
run = wandb.init(project="p", id="r")
for number in range({ROWS}):
    run.log({{"i": number}})
run.finish(timeout=1)
try:
    wandb.Api(timeout=100).artifact("standin/p/m:latest")
except Exception as error:
    print(type(error).__name__, error)
"""


def trouble(world: World) -> str:
    """What `telemetryd status` says of the run; empty while all is well."""
    return str(next((run["trouble"] for run in world.status()["runs"]), None) or "")


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do_and_the_rows_wait(
    world: World, standin: Standin, authority: Authority
) -> None:
    world.start_daemon()
    with train(world, LOG, "work") as trainer:
        assert trainer.wait(100) == 0, f"{trainer.told()}\n{world.worker_logs()}"
    assert "CommError" in trainer.out()
    assert "failed to verify certificate" in trainer.out(), trainer.told()
    said = wait_until(lambda: trouble(world), 60, world.worker_logs, poll_s=0.1)
    assert all(word in said for word in ("certificate", "SSL_CERT_FILE", "rows are kept")), said
    assert not standin.requests(), "nobody told anything to a server that is not trusted"

    world.kill_daemon()
    world.environment["REQUESTS_CA_BUNDLE"] = str(authority.file)
    world.start_daemon()
    world.wait_settled()
    assert [row["i"] for row in standin.rows("r")] == list(range(ROWS))


STEADY = """
import client as wandb, os, time
with open("m.pt", "wb") as stream:
    stream.write(os.urandom(1_000_000))
with wandb.init(project="p", id="r") as run:
    step = 0
    def log_until(name):
        global step
        while not os.path.exists(name):
            run.log({"i": step})
            step += 1
            time.sleep(0.02)
    log_until("changed")
    artifact = run.log_artifact("m.pt", name="m", type="model")
    log_until("mended")
    artifact.wait(100)
print(step)
"""


@pytest.mark.chaos
def test_a_certificate_that_changes_amid_a_run_for_one_that_is_not_trusted_costs_nothing_once_it_is_mended(
    world: World, standin: Standin, authority: Authority, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    world.environment["SSL_CERT_FILE"] = str(authority.file)
    world.start_daemon()
    with train(world, STEADY, "work") as trainer:
        world.wait_delivering(60)
        Authority(tmp_path, "stranger").sign(tls)
        standin.cut()
        (world.folder / "work" / "changed").touch()
        wait_until(lambda: "a certificate that this machine trusts" in trouble(world), 60, world.worker_logs, 0.1)
        authority.sign(tls)
        (world.folder / "work" / "mended").touch()
        assert trainer.wait(110) == 0, f"{trainer.told()}\n{world.worker_logs()}"
    world.wait_settled()
    assert [row["i"] for row in standin.rows("r") if "i" in row] == list(range(int(trainer.out())))
    assert [(a["name"], a["state"]) for a in standin.artifacts()] == [("m", "COMMITTED")]


@pytest.mark.parametrize(
    ("names", "words"),
    [("DNS:api.example.org", "not valid for '127.0.0.1'"), ("IP:127.0.0.1", "")],
    ids=["of another name", "its own"],
)
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_server_is_asked_when_its_certificate_is_for_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str, names: str, words: str
) -> None:
    monkeypatch.setenv(variable, str(authority.file))
    with fixture.running(tls=authority.server(names)) as server:
        asked = Server(server.url, "k" * 40)
        if not words:
            assert asked.viewer() == "standin"
            return
        with pytest.raises(ServerSilentError, match="SSL_CERT_FILE") as refused:
            asked.viewer()
        assert words in str(refused.value)
        assert not server.requests(), "no key went to it"
