"""Content on its way: an encrypted endpoint, deaths amid a download, and the cap of what offline runs keep."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from client.protocol.artifacts import ROOT_NAME
from telemetryd.inbox.content import DOWNLOADS_NAME
from telemetryd.reception import keys
from telemetryd.reception.socket import make_pair
from tests.integration.test_artifacts import _running, artifact_of, b64, elsewhere, train, wait_unstaged
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.processes import alive, command_line, descendants, wait_until, with_environment
from tests.support.world import World
from tests.support.worlds import offline, world

__all__ = ["offline", "standin", "world"]
pytestmark = pytest.mark.leaves_files("a world ends by SIGKILL, amid whatever its worker does")


def test_over_tcp_with_keys_content_goes_and_comes_in_pieces_while_rows_go_on(world: World, standin: Standin) -> None:
    """Nothing is shared but the network: another spool, and a cache that the training process does not see."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        world.endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    folder = world.state_dir / "keys"
    world.state_dir.mkdir(mode=0o700)
    keys.prepare(folder, make_pair)
    world.environment |= {"TELEMETRYD_ENDPOINT": world.endpoint, "TELEMETRYD_KEY_FILE": str(folder / "client.key")}
    world.daemon = world.spawn_daemon()
    script = """
        import client as wandb, hashlib, base64, json, os, time
        from client.artifacts import courier, fetch
        fetch._shared = lambda folder, token: None
        most = 0
        class Counted(courier.deque):
            def append(self, item):
                global most
                super().append(item)
                most = max(most, len(self))
        courier.deque = Counted
        run = wandb.init(project="p", id="r")
        content = os.urandom(5_000_001)
        open("m.pt", "wb").write(content)
        artifact = run.log_artifact("m.pt", name="m", type="model")
        steps = 0
        while not artifact.done:
            run.log({"loss": steps})
            steps += 1
            time.sleep(0.005)
        artifact.wait(0)
        folder = run.use_artifact("m:latest").download("back")
        same = open("back/m.pt", "rb").read() == content
        run.finish()
        print(json.dumps([same, most, steps, base64.b64encode(hashlib.md5(content).digest()).decode()]))
    """
    same, most, steps, digest = train(world, script, **elsewhere(world))
    assert same is True
    assert 1 < most <= 8, "as many pieces on the way as there is credit for"
    assert artifact_of(standin, "m")["contents"]["m.pt"]["digest"] == digest
    wait_until(lambda: standin.row_count("r") == steps, 60, "every row that was logged meanwhile")
    assert world.daemon is not None
    assert world.daemon.running()
    wait_unstaged(world)
    assert not (world.runs_dir / "wandb").exists(), "over TCP no path of training's counts"
    assert list((world.state_dir / "runs" / "wandb").glob("run-*-r"))
    denied = train(
        world,
        """
        import client as wandb, json
        from client import guard
        try:
            wandb.Api().artifact("standin/p/m:latest")
        except Exception as error:
            print(json.dumps(type(error).__name__))
        guard.raised.clear()
        """,
        TELEMETRYD_KEY_FILE=str(_stranger(world, folder)),
        **elsewhere(world),
    )
    assert denied == "NoAnswerError"


def _stranger(world: World, folder: Path) -> Path:
    server = next(line for line in (folder / "client.key").read_text().splitlines() if line.startswith("server-key"))
    public, secret = make_pair()
    path = world.folder / "stranger.key"
    path.write_text(f'public-key = "{public.decode()}"\nsecret-key = "{secret.decode()}"\n{server}\n')
    path.chmod(0o600)
    return path


def _pids(world: World, victim: str) -> list[int]:
    """The process that downloads, its wandb-core, or the run's worker."""
    own = [pid for pid in with_environment(world._mark) if alive(pid)]
    if victim == "worker":
        return world.worker_pids()
    asking = [pid for pid in own if "api_main" in command_line(pid)]
    if victim == "asker":
        return asking
    below = {pid for asker in asking for pid in descendants(asker)}
    return [pid for pid in below if "wandb-core" in command_line(pid)]


@pytest.mark.parametrize("victim", ["asker", "its core", "worker"])
def test_a_download_by_a_run_outlives_every_process_that_it_needs(world: World, standin: Standin, victim: str) -> None:
    world.start_daemon()
    train(
        world,
        """
        import client as wandb
        with wandb.init(project="p") as run:
            open("data", "wb").write(b"d" * 3_000_000)
            run.log_artifact("data", name="a", type="dataset")
        """,
    )
    held = standin.hang("download", skip=1)  # the manifest passes
    script = """
        import client as wandb, json, os
        run = wandb.init(project="p", id="user")
        run.log({"a": 1})
        run.flush()
        try:
            said = run.use_artifact("a:latest").download("here", timeout=100)
        except wandb.errors.CommError as error:
            said = None
            print(error, flush=True)
        run.log({"a": 2})
        again = run.use_artifact("a:latest").download("again", timeout=100)
        run.finish()
        print(json.dumps([said is not None, os.path.exists("here")]))
    """
    work = world.folder / "work"
    with _running(world, script) as trainer:
        standin.wait_for(lambda s: s.hits(held), 60, "the download")
        assert not (work / "here").exists()
        for pid in wait_until(lambda: _pids(world, victim), 20, f"the {victim}"):
            world.send([pid], signal.SIGKILL)
        standin.clear()
        assert trainer.wait(100) == 0, trainer.told()
        told, there = json.loads(trainer.out().splitlines()[-1])
    assert told == there, "whole, or an error and nothing"
    for name in ("here", "again") if there else ("again",):
        assert (work / name / "data").read_bytes() == b"d" * 3_000_000
    assert [path.name for path in work.iterdir() if "partial" in path.name] == []
    assert not list(world.state_dir.glob(f"{DOWNLOADS_NAME}/*/*.partial*"))
    world.wait_settled()
    assert [row["a"] for row in standin.rows("user")] == [1, 2]
    (used,) = [a for a in standin.artifacts() if a["name"] == "a"]
    assert any("user" in str(user) for user in used["used_by"])


def test_offline_content_is_kept_up_to_its_cap_and_what_is_there_is_never_removed(offline: World) -> None:
    offline.start_daemon("--artifact-max", "1MB")
    script = """
        import client as wandb, json, os
        from client import guard
        said = []
        for number in range(4):
            run = wandb.init(project="p", id=f"off{number}")
            open("m.pt", "wb").write(bytes([number]) * 400_000)
            artifact = run.log_artifact("m.pt", name=f"m{number}", type="model")
            try:
                artifact.wait(60)
                said.append("")
            except ValueError as error:
                said.append(str(error))
            guard.raised.clear()
            run.finish()
        print(json.dumps(said))
    """
    said = train(offline, script)
    assert said[:2] == ["", ""]
    for refused in said[2:]:
        assert "the content of offline runs is at its cap" in refused
        assert "`wandb sync`" in refused
        assert "artifact_max_bytes" in refused
    kept = offline.runs_dir / "wandb" / "artifacts"
    files = sorted(path for path in kept.rglob("0"))
    assert [path.read_bytes() for path in files] == [bytes([number]) * 400_000 for number in (0, 1)]
    assert offline.status()["artifacts"]["counts"] == {"recorded": 2, "failed": 2}
    wait_unstaged(offline)
    assert not list((offline.state_dir / ROOT_NAME).rglob("0"))
    for path in files:
        path.unlink()
    (made,) = train(offline, script.replace("range(4)", "range(4, 5)"))
    assert made == "", "there is room again"
    assert b64(bytes([4]) * 400_000) in [b64(path.read_bytes()) for path in kept.rglob("0")]


def test_rows_go_before_content_which_goes_on_where_it_was_after_a_kill_of_training(
    world: World, standin: Standin
) -> None:
    """`telemetryd push` on the machine where it trained, as after a crash of a node."""
    world.start_daemon()
    script = """
        import client as wandb, time
        from client.artifacts import courier
        courier.ARTIFACT_CREDIT_CHUNKS = 1   # slow enough to be killed in the middle
        run = wandb.init(project="p", id="r")
        with open("m.pt", "wb") as stream:
            stream.write(b"m" * 20_000_000)
        run.log_artifact("m.pt", name="m", type="model")
        while True:
            run.log({"a": 1})
            time.sleep(0.005)
    """
    with _running(world, script, **elsewhere(world)) as trainer:
        partial = world.state_dir / ROOT_NAME
        wait_until(lambda: sum(p.stat().st_size for p in partial.rglob("0")) > 2_000_000, 60, trainer.told)
        before = world.status()["offered"]
        wait_until(lambda: world.status()["offered"] >= before + 10, 30, "rows beside the content", poll_s=0.01)
        (kept,) = [p.stat().st_size for p in partial.rglob("0")]
        assert kept < 20_000_000, "rows came while most of the content was still to come"
    world.push(**elsewhere(world))
    world.wait_settled()
    assert artifact_of(standin, "m")["contents"]["m.pt"]["digest"] == b64(b"m" * 20_000_000)
    received = world.status()["counters"]["content_bytes_received"]
    assert received < 20_100_000, "what had come was not sent again"
    assert kept > 2_000_000
    wait_unstaged(world)
