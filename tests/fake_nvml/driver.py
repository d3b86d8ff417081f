"""The fake driver at work: builds nvml.c, and writes the state file that its cards are.

driver = FakeDriver.build(folder); driver.update(h100(8)); environment |= driver.environment()
driver.set("3.lost", 1)             the next call to card 3 is answered NVML_ERROR_GPU_IS_LOST
driver.xid(2, 79)                   an event
driver.restart()                    handles and nvmlInit of before are void
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.requirements import require

SOURCE = Path(__file__).with_name("nvml.c")
LIBRARY = "libnvidia-ml.so.1"
GIB = 1 << 30
XID, DOUBLE_BIT, SINGLE_BIT = 8, 2, 1
ALL_LINKS = 0xFFFFFFFF
HANG, CRASH = "hang", "crash"
NOT_SUPPORTED, LOST, UNKNOWN = "error 3", "error 15", "error 999"


class FakeDriver:
    """One driver with its cards. What is set is seen by the next call of any process that has it loaded."""

    def __init__(self, folder: Path, state_path: Path | None = None) -> None:
        """`folder` has the library; another `state_path` makes the cards a test's own."""
        self.folder = folder
        self.state_path = state_path or folder / "state"
        self.calls_path = folder / "calls"
        self.state: dict[str, Any] = {}

    @classmethod
    def build(cls, folder: Path) -> FakeDriver:
        """Compiles the library into `folder`; skips the test where there is no C compiler."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        require(compiler, "a C compiler (gcc) builds the fake NVIDIA driver")
        folder.mkdir(parents=True, exist_ok=True)
        command = [str(compiler), "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
        subprocess.run([*command, "-o", str(folder / LIBRARY), str(SOURCE)], check=True, timeout=60)
        driver = cls(folder)
        driver.write()
        return driver

    def environment(self, *, count_calls: bool = False) -> dict[str, str]:
        """What makes a process that is started now load this driver."""
        paths = [str(self.folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        variables = {"LD_LIBRARY_PATH": ":".join(paths), "FAKE_NVML_STATE": str(self.state_path)}
        return variables | ({"FAKE_NVML_CALLS": str(self.calls_path)} if count_calls else {})

    def write(self) -> None:
        """Puts the state in the file's place at once, so that no reader sees half of it."""
        partial = self.state_path.with_suffix(".partial")
        partial.write_text("".join(f"{key}={value}\n" for key, value in self.state.items()))
        partial.replace(self.state_path)

    def update(self, state: Mapping[str, Any]) -> None:
        self.state |= state
        self.write()

    def set(self, key: str, value: Any) -> None:
        self.update({key: value})

    def remove(self, *keys: str) -> None:
        for key in keys:
            self.state.pop(key, None)
        self.write()

    def event(self, gpu: int, kind: int, data: int = 0) -> None:
        """An event of the event set, after all that were before."""
        number = 1 + sum(key.startswith("event.") for key in self.state)
        self.set(f"event.{number}", f"{gpu} {kind} {data}")

    def xid(self, gpu: int, code: int) -> None:
        self.event(gpu, XID, code)

    def unload(self) -> None:
        """`rmmod nvidia`."""
        self.set("driver.state", "unloaded")

    def restart(self) -> None:
        """Loaded again; whoever used it before must initialise anew."""
        self.update({"driver.state": "loaded", "driver.generation": int(self.state.get("driver.generation", 0)) + 1})

    def calls(self) -> Counter[str]:
        """How often each "function key" was called, with `count_calls`."""
        return Counter(self.calls_path.read_text().splitlines()) if self.calls_path.exists() else Counter()


def _card(index: int, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{index}.{name}": value for name, value in values.items()}


def uuid(index: int, family: str = "a0") -> str:
    return f"GPU-{family}{index:06x}-1111-2222-3333-{index:012x}"


def h100(count: int) -> dict[str, Any]:
    """H100 SXM cards that say everything, each with numbers of its own: the n-th has 30 + n degrees, and so on."""
    state: dict[str, Any] = {"driver.count": count, "driver.version": "570.86.15", "driver.cuda": 12080}
    for n in range(count):
        state |= _card(
            n,
            {
                "name": "NVIDIA H100 80GB HBM3", "uuid": uuid(n), "index": n, "brand": 14, "architecture": 9,
                "serial": f"16530{n:02d}", "cores": 16896, "numa_node": n // 4, "capability": "9 0",
                "pci": f"00000000:{0x19 + n:02X}:00.0",
                "utilization": f"{90 + n} {40 + n}", "encoder": f"{n} 166000", "decoder": f"{n + 1} 166000",
                "jpeg": "0 166000", "ofa": "0 166000",
                "memory_v2": 1, "memory": f"{80 * GIB} {GIB // 2} {70 * GIB - n * GIB} {(10 + n) * GIB - GIB // 2}",
                "temperature.0": 30 + n, "temperature_margin": 50 - n,
                "temperature_threshold.1": 92, "temperature_threshold.2": 95, "temperature_threshold.3": 87,
                "power_mw": 400_000 + n * 1000, "power_limit_mw": 700_000, "energy_mj": 5_000_000 + n,
                "clock.0": 1980, "clock.1": 1975, "clock.2": 2619, "clock.3": 1545,
                "max_clock.0": 1981, "max_clock.1": 1982, "max_clock.2": 2620, "max_clock.3": 1550,
                "performance_state": 0, "throttle_reasons": 0,
                "memory_errors.0.0.2": 3 + n, "memory_errors.1.0.2": 0,
                "remapped": "1 0 0 0",
                "pcie_gen": 5, "pcie_width": 16, "pcie_max_gen": 5, "pcie_max_width": 16, "pcie_speed": 32000,
                "pcie_max_speed": 32000, "pcie_replays": n, "pcie_kbps.0": 1000 + n, "pcie_kbps.1": 2000 + n,
                "mig_mode": "0 0", "mig_max": 7, "event_types": 0x1F | 0x200, "processes": "", "graphics_processes": "",
                "fields": 1,
                "field.3": 4 + n, "field.4": 0, "field.5": 6 + n, "field.6": 1,
                "field.74": 7_000_000_000, "field.75": 2_000_000_000, "field.76": 0, "field.77": 0, "field.78": 0,
                "field.79": 0, "field.80": 0, "field.81": 0, "field.269": 3_000_000_000, "field.270": 0, "field.271": 0,
                "field.82": 55 + n, "field.94": n, "field.38": 0, "field.45": 0, "field.52": 2, "field.59": 0,
                "field.160": 0, "field.185": 410_000, "field.186": 420_000 + n * 1000,
                "field.197": 111_000 + n, "field.198": 222_000 + n,
                f"field.138.{ALL_LINKS}": 5000 + n, f"field.139.{ALL_LINKS}": 6000 + n,
                "gpm": 1, "gpm.1": 95.0, "gpm.2": 88.5, "gpm.3": 42.25, "gpm.5": 61.0, "gpm.10": 37.5, "gpm.11": 0.0,
                "gpm.12": 12.5, "gpm.13": 1.5, "gpm.20": 100.0, "gpm.21": 200.0, "gpm.60": 300.0, "gpm.61": 400.0,
            },
        )  # fmt: skip
    return state


def a100_mig() -> dict[str, Any]:
    """One A100 in MIG mode with two instances, and one without MIG."""
    state: dict[str, Any] = {"driver.count": 2, "driver.version": "550.54.15", "driver.cuda": 12040}
    for n in range(2):
        state |= _card(
            n,
            {
                "name": "NVIDIA A100-SXM4-40GB", "uuid": uuid(n, "b0"), "index": n, "brand": 14, "architecture": 7,
                "cores": 6912, "capability": "8 0", "pci": f"00000000:{0x3B + n:02X}:00.0",
                "memory_v2": 1, "memory": f"{40 * GIB} {GIB // 2} {30 * GIB} {10 * GIB - GIB // 2}",
                "temperature.0": 35 + n, "power_mw": 120_000, "power_limit_mw": 400_000, "energy_mj": 1_000_000,
                "clock.0": 1410, "clock.1": 1410, "clock.2": 1215, "clock.3": 1275, "max_clock.1": 1410,
                "performance_state": 0, "throttle_reasons": 4, "remapped": "0 0 0 0", "event_types": 0xF,
                "mig_mode": f"{1 - n} {1 - n}", "mig_max": 7, "fields": 1, "field.82": 45, "field.3": 0, "field.4": 0,
                "processes": "", "graphics_processes": "",
            },
        )  # fmt: skip
    state["1.utilization"] = "55 10"  # a card in MIG mode does not tell
    for n in range(2):
        instance = {
            "name": f"NVIDIA A100-SXM4-40GB MIG {3 - n}g.{20 - 10 * n}gb",
            "uuid": f"MIG-c000000{n}-1111-2222-3333-444444444444", "gpu_instance": n + 1, "compute_instance": 0,
            "memory_v2": 1, "memory": f"{(20 - 10 * n) * GIB} 0 {10 * GIB} {(10 - 9 * n) * GIB}", "processes": "",
        }  # fmt: skip
        state |= _card(0, {f"mig.{n}.{name}": value for name, value in instance.items()})
    return state


def old_card() -> dict[str, Any]:
    """A Kepler card under its last driver: no field values, no ECC, no energy, a fan."""
    return {"driver.count": 1, "driver.version": "470.256.02", "driver.cuda": 11040} | _card(
        0,
        {
            "name": "Tesla K40m", "uuid": uuid(0, "d0"), "index": 0, "brand": 2, "architecture": 2, "cores": 2880,
            "capability": "3 5", "pci": "00000000:02:00.0", "utilization": "50 20",
            "memory": f"{12 * GIB} 0 {9 * GIB} {3 * GIB}", "temperature.0": 70, "fan": 33, "fans": 1, "fan.0": 33,
            "clock.0": 745, "clock.1": 745, "clock.2": 3004, "max_clock.1": 875, "performance_state": 0,
            "throttle_reasons": 2, "retired.0": 2, "retired.1": 1, "pcie_gen": 3, "pcie_width": 16, "processes": "",
        },
    )  # fmt: skip
