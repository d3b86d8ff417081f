"""What wandb's own sampler writes on this host and what ours does, of the same process in the same seconds: every key
of wandb's is one of ours, with the same value, within a tolerance that stands in TOLERANCES.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from telemetryd.runs import wandb_file
from telemetryd.sampling.messages import Devices, Process, Reading, Target
from telemetryd.sampling.panel import Panel
from telemetryd.sampling.processes import read_stat
from tests.fake_nvml.driver import FakeDriver, a100_mig, h100, old_card
from tests.support.processes import wait_until
from tests.support.sampler import SamplerRig

PEER = """
import sys, threading, time
import wandb
data = b"x" * (60 << 20)
options = dict(x_stats_sampling_interval=1.0, x_transaction_log_flush_interval=0.2, silent=True, console="off")
settings = wandb.Settings(**options)
run = wandb.init(mode="offline", project="p", dir=sys.argv[1], id="peer", settings=settings)
for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print(run.settings.sync_file, flush=True)
def burn():
    while True:
        end = time.monotonic() + 0.02
        while time.monotonic() < end: pass
        time.sleep(0.02)
threading.Thread(target=burn, daemon=True).start()
sys.stdin.read()
run.finish()
"""

EXACT = (1e-6, 1e-6)
TOLERANCES: dict[str, tuple[float, float]] = {
    "gpu.": EXACT,
    "cpu": (0.5, 5.0),  # of different seconds, on a machine that does other things, too
    "memory_percent": (0.1, 5.0),
    "proc.memory.availableMB": (0.2, 500.0),
    "proc.memory.rssMB": (0.05, 2.0),
    "proc.memory.percent": (0.05, 0.05),
    "proc.cpu.threads": (0.0, 0.0),
    "disk./.": (0.02, 0.5),
    "disk.": (0.5, 200.0),  # counted from different beginnings
    "network.": (0.5, 1e7),
}
"""(relative, absolute) by how a key begins: the longest that fits."""


def tolerance(key: str) -> tuple[float, float]:
    return TOLERANCES[max((begin for begin in TOLERANCES if key.startswith(begin)), key=len)]


def medians(samples: list[dict[str, float]]) -> dict[str, float]:
    keys = {key for sample in samples for key in sample}
    return {key: statistics.median([sample[key] for sample in samples if key in sample]) for key in keys}


def of_wandb(path: Path) -> list[dict[str, float]]:
    records = [record for record in wandb_file.records(path) if record.WhichOneof("record_type") == "stats"]
    return [{item.key: float(item.value_json) for item in record.stats.item} for record in records]


@pytest.mark.parametrize("cards", [lambda: h100(2), a100_mig, old_card], ids=["h100", "a100", "old"])
def test_every_key_that_wandb_writes_is_ours_with_the_same_value(
    tmp_path: Path, short_path: Path, cards: Callable[[], dict[str, Any]]
) -> None:
    driver = FakeDriver.build(tmp_path / "driver")
    driver.update(cards() | {"0.pcie_kbps.0": 1500, "0.pcie_kbps.1": 2500, "1.pcie_kbps.0": 7, "1.pcie_kbps.1": 9})
    peer = subprocess.Popen(
        [sys.executable, "-c", PEER, str(short_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **driver.environment()},
    )  # fmt: skip
    assert peer.stdin is not None
    assert peer.stdout is not None
    rig = SamplerRig(tmp_path / "rig", driver.environment(), period_s=1.0)
    try:
        path = Path(peer.stdout.readline().strip())
        driver.set("0.processes", f"{peer.pid}:{1 << 30}")
        stat = read_stat(peer.pid)
        assert stat is not None
        target = Target(1, [Process(peer.pid, stat.start_ticks)])
        rig.watch(target, all_gpus=True, paths=["/"])
        devices = rig.wait_for(Devices)
        cards_alone = [device for device in devices.devices if device.parent is None]  # wandb knows no instances
        panel = Panel(target, [msgspec.structs.replace(device, mig=False) for device in cards_alone])
        for _ in range(8):
            rig.reading("run:1", "process")
        wait_until(lambda: len(of_wandb(path)) >= 9, 60, "nine samples by wandb", poll_s=0.2)
        rig.forget()
        ours = [dict(panel.keys(report)) for report in rig.reports if isinstance(report, Reading) and report.families]
        theirs = of_wandb(path)
    finally:
        rig.close()
        peer.stdin.close()
        peer.wait(60)
        peer.stdout.close()
    mine, wandbs = medians(ours[-200:]), medians(theirs[2:])
    assert [key for key in wandbs if key.startswith("gpu.process.0.")]
    assert len([key for key in wandbs if key.startswith("gpu.0.")]) >= 8
    assert len([key for key in wandbs if not key.startswith("gpu.")]) >= 11
    assert wandbs.keys() - mine.keys() == set()
    differing = {
        key: (value, mine[key])
        for key, value in wandbs.items()
        if mine[key] != pytest.approx(value, rel=tolerance(key)[0], abs=tolerance(key)[1])
    }
    assert differing == {}
