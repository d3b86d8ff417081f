"""Media values with everything real: captured at the call, kept through kills, counted where they are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from telemetryd.runs.wandb_file import history_rows
from tests.standin.client import Standin
from tests.standin.fixture import standin
from tests.support.daemon import Daemon
from tests.support.processes import Spawned, spawn, wait_until
from tests.support.requirements import require_module

require_module("wandb")
for module in ("numpy", "PIL", "soundfile"):
    require_module(module)

__all__ = ["standin"]
pytestmark = pytest.mark.leaves_files("workers are killed amid whatever they do")
OFFLINE = {"WANDB_MODE": "offline"}

IMAGES = """
    import os, signal, sys, time
    import numpy as np
    import client
    def pixels(i):
        return np.full((64, 64, 3), i, dtype=np.uint8)
    run = client.init(project="p", id="media")
    print("begun", flush=True)
"""


def program(folder: Path, source: str, environ: dict[str, str]) -> Spawned:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(IMAGES) + textwrap.dedent(source))
    return spawn([sys.executable, str(path)], folder, env={**environ, "WANDB_DIR": str(folder)})


def finished(daemon: Daemon, deadline_s: float = 90) -> dict[str, Any]:
    status = daemon.wait_status(
        lambda said: said["runs"] and said["runs"][0]["state"] == "finished", deadline_s, "the run finished"
    )
    return dict(status["runs"][0])


def rows(folder: Path) -> dict[int, dict[str, Any]]:
    """History rows over all files of the run, by step; each once."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("wandb/*run-*/*.wandb"), key=lambda path: path.stat().st_ctime_ns):
        for step, row in history_rows(path):
            assert step not in found, f"step {step} is there twice"
            found[step] = row
    return found


def picture(folder: Path, value: dict[str, Any]) -> int:
    """The one colour of a stored image; its file lies in one of the run's folders, or several with the same content."""
    from PIL import Image

    found = list(folder.glob(f"wandb/*run-*/files/{value['path']}"))
    assert found, value
    assert len({path.read_bytes() for path in found}) == 1
    with Image.open(found[0]) as image:
        colours = image.getcolors()
    assert colours is not None
    assert len(colours) == 1
    return int(colours[0][1][0])


def test_buffers_may_be_overwritten_and_files_deleted_on_the_next_line(daemon: Daemon, short_path: Path) -> None:
    script = program(
        short_path,
        """
        import pathlib
        from PIL import Image as Picture
        buffer = pixels(0)
        path = pathlib.Path("picture.png")
        for i in range(20):
            buffer[:] = i
            Picture.fromarray(buffer).save(path)
            held = client.Image(buffer)
            buffer[:] = 255
            run.log({"buffer": held, "file": client.Image(path), "i": i})
            path.unlink()
        run.finish()
        """,
        OFFLINE,
    )
    assert script.wait(90) == 0, script.told()
    finished(daemon)
    stored = rows(short_path)
    assert [row["i"] for row in stored.values()] == list(range(20))
    for row in stored.values():
        assert (picture(short_path, row["buffer"]), picture(short_path, row["file"])) == (row["i"], row["i"])


def test_a_trainer_killed_right_after_log_leaves_its_media_to_a_daemon_that_comes_later(
    stopped_daemon: Daemon, short_path: Path
) -> None:
    script = program(
        short_path,
        """
        for i in range(10):
            run.log({"image": client.Image(pixels(i)), "i": i})
        run.log({"big": client.Histogram(np.arange(3_000_000.0))})
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        {**stopped_daemon.environment, **OFFLINE},
    )
    assert script.wait(60) == -signal.SIGKILL
    stopped_daemon.start()
    run = finished(stopped_daemon)
    stored = rows(short_path)
    assert [picture(short_path, stored[i]["image"]) for i in range(10)] == list(range(10))
    assert sum(stored[10]["big"]["values"]) == 3_000_000
    assert (run["delivered"], run["media_lost"]) == (11, {})


def test_workers_killed_amid_media_double_and_lose_nothing(daemon: Daemon, short_path: Path) -> None:
    script = program(
        short_path,
        """
        for i in range(300):
            run.log({"open": client.Image(pixels(i % 250)), "i": i}, commit=False)
            run.log({"image": client.Image(pixels(i % 250))})
        print("logged", flush=True)
        print(run.finish(timeout_s=80), flush=True)
        """,
        OFFLINE,
    )
    for delivered in (20, 90, 160):
        daemon.wait_status(lambda said, count=delivered: said["delivered"] >= count, 60, f"{delivered} delivered")
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
    assert script.wait(120) == 0, script.told()
    run = finished(daemon)
    stored = rows(short_path)
    assert list(stored) == list(range(300))
    for i, row in stored.items():
        assert row["i"] == i
        assert (picture(short_path, row["open"]), picture(short_path, row["image"])) == (i % 250, i % 250)
    assert (run["offered"], run["delivered"], run["dropped"], run["media_lost"]) == (600, 600, {}, {})
    assert not list((daemon.state_dir / "workers").glob("*.blobs")), "what was gathered is gone when the run is over"


def test_an_open_row_with_media_survives_workers_though_its_bytes_came_before_the_cursor(
    daemon: Daemon, short_path: Path
) -> None:
    script = program(
        short_path,
        """
        run.log({"first": 1})
        run.log({"image": client.Image(pixels(7))}, commit=False)
        assert run.flush(30)
        print("open", flush=True)
        while not os.path.exists(os.environ["WANDB_DIR"] + "/go"):
            time.sleep(0.05)
        run.log({"i": 1})
        run.finish(timeout_s=60)
        """,
        OFFLINE,
    )
    script.wait_out("open", 60)
    daemon.wait_status(lambda said: said["delivered"] == 1, 60, "the first row delivered")
    wait_until(lambda: list((daemon.state_dir / "workers").glob("*.blobs/*")), 30, lambda: "the bytes in a file")
    (worker,) = daemon.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: daemon.workers() - {worker}, 30, lambda: "another worker")
    (short_path / "go").touch()
    assert script.wait(90) == 0, script.told()
    finished(daemon)
    stored = rows(short_path)
    assert stored[1]["i"] == 1
    assert picture(short_path, stored[1]["image"]) == 7


def test_a_missing_package_costs_the_value_names_the_extra_and_is_counted(
    stopped_daemon: Daemon, short_path: Path
) -> None:
    lacking = short_path / "lacking"
    lacking.mkdir()
    for module in ("soundfile", "rdkit", "sklearn"):
        (lacking / f"{module}.py").write_text(f"raise ImportError('No module named {module}')")
    path = os.pathsep.join([str(lacking), *filter(None, [os.environ.get("PYTHONPATH")])])
    stopped_daemon.start(env={"PYTHONPATH": path})
    script = program(
        short_path,
        """
        for i in range(3):
            run.log({"clip": client.Audio(np.zeros(100), 100), "image": client.Image(pixels(i)), "loss": i})
        chart = client.plot.roc_curve([0, 1], [[0.9, 0.1], [0.2, 0.8]])
        molecule = client.Molecule.from_smiles("CCO")
        run.log({"structure": molecule, "roc": chart, "loss": 3, "image": client.Image(pixels(3))})
        report = run.finish(timeout_s=80)
        print(report.media_lost, report.delivered)
        """,
        {**stopped_daemon.environment, **OFFLINE},
    )
    assert script.wait(90) == 0, script.told()
    run = finished(stopped_daemon)
    assert run["media_lost"] == {"encoder_missing": 3, "encoder_missing_molecules": 1, "encoder_missing_plots": 1}
    assert (run["delivered"], run["dropped"]) == (4, {})
    assert "'encoder_missing': 3" in script.told()
    assert "pip install 'telemetryd[media,molecules,plots]'" in script.told()
    stored = rows(short_path)
    assert [row["loss"] for row in stored.values()] == [0, 1, 2, 3]
    assert not any({"clip", "structure", "roc"} & row.keys() for row in stored.values())
    assert [picture(short_path, row["image"]) for row in stored.values()] == [0, 1, 2, 3]
    logs = "".join(log.read_text() for log in (stopped_daemon.state_dir / "workers").glob("*.log"))
    assert logs.count("media_lost key='clip'") == 1, "said once, counted each time"
    status = subprocess.run(
        [sys.executable, "-m", "telemetryd", "status"],
        env={**os.environ, **stopped_daemon.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "5 media values lost" in status.stdout.replace("\n", " ")


def test_over_tcp_the_bytes_come_along(short_path: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state = short_path / "state" / "telemetryd"
    daemon = Daemon(tmp_path / "daemon", f"tcp://127.0.0.1:{port}", state, state / "spool").start()
    try:
        script = program(
            short_path,
            """
            run.log({"image": client.Image(pixels(9)), "film": client.Image(np.full((1500, 2000, 4), 3, np.uint8))})
            run.finish(timeout_s=60)
            """,
            {**daemon.environment, "TELEMETRYD_SPOOL_DIR": str(short_path / "elsewhere"), **OFFLINE},
        )
        assert script.wait(90) == 0, script.told()
        finished(daemon)
        stored = rows(state / "runs")
        assert picture(state / "runs", stored[0]["image"]) == 9
        assert stored[0]["film"]["width"] == 2000
    finally:
        daemon.end()


@pytest.fixture
def online(stopped_daemon: Daemon, standin: Standin) -> Daemon:
    return stopped_daemon.start(env={"WANDB_BASE_URL": standin.url, "WANDB_API_KEY": "0123456789" * 4})


def test_online_every_media_file_reaches_the_server_though_workers_are_killed(
    online: Daemon, standin: Standin, short_path: Path
) -> None:
    script = program(
        short_path,
        """
        for i in range(120):
            run.log({"image": client.Image(pixels(i)), "i": i})
        run.finish(timeout_s=100)
        """,
        online.environment,
    )
    for delivered in (5, 50):
        online.wait_status(lambda said, count=delivered: said["delivered"] >= count, 60, f"{delivered} delivered")
        for pid in online.workers():
            os.kill(pid, signal.SIGKILL)
    assert script.wait(150) == 0, script.told()
    run = finished(online, 120)
    assert (run["delivered"], run["dropped"], run["media_lost"]) == (120, {}, {})
    history = standin.rows("media")
    assert [row["i"] for row in history] == list(range(120))
    files = standin.files("media")
    for row in history:
        name = row["image"]["path"]
        assert name in files, name
        local = next(iter(short_path.glob(f"wandb/run-*/files/{name}")))
        assert standin.read_file("media", name) == local.read_bytes()


def test_histograms_of_watch_that_die_with_training_are_counted_and_their_rows_kept(
    daemon: Daemon, short_path: Path
) -> None:
    require_module("torch")
    script = program(
        short_path,
        """
        import threading
        import torch
        from client import histograms
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        def batch(i):
            net(torch.ones(5, 3)).square().sum().backward()
            run.log({"i": i})
        run.watch(net, log="all", log_freq=1, idx=0)
        batch(0)
        while sum(key.startswith(("gradients", "parameters")) for key in dict(run.summary)) < 8:
            time.sleep(0.01)
        compute, left = histograms.histogram, iter(range(3))
        def stuck(copy):
            next(left, None) is None and threading.Event().wait()
            return compute(copy)
        histograms.histogram = stuck
        batch(1)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        OFFLINE,
    )
    assert script.wait(90) == -signal.SIGKILL, script.told()
    run = finished(daemon)
    stored = rows(short_path)
    assert [row["i"] for row in stored.values()] == [0, 1]
    there = [sum("/" in key for key in row) for row in stored.values()]
    assert there[0] == 8
    assert run["media_lost"] == {"unfinished": 8 - there[1]}
    assert run["offered"] == run["delivered"] + sum(run["dropped"].values())
    assert run["media_lost"]["unfinished"] >= 5
