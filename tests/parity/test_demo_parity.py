"""The demo leaves the same run on wandb and through the sidecar: only the import differs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.parity.compare import content, history, media_history
from tests.parity.kept import plain
from tests.support.requirements import require

DEMO = Path(__file__).parents[2] / "deploy" / "examples" / "train_digits.py"


def on_wandb(script: Path, folder: Path) -> Path:
    """The .wandb file that wandb itself writes for a script."""
    return _run([sys.executable, str(script)], folder)


def through_the_sidecar(script: Path, folder: Path) -> Path:
    """The .wandb file of the same script with `import client as wandb`."""
    ours = folder.with_name("ours.py")
    ours.write_text(script.read_text().replace("import wandb\n", "import client as wandb\n"))
    return _run([sys.executable, "-m", "telemetryd", "run", "--", sys.executable, str(ours)], folder)


def _run(command: list[str], folder: Path) -> Path:
    folder.mkdir()
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    files = list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 1, f"{files}\n{done.stdout}\n{done.stderr}"
    return files[0]


def left(file: Path) -> dict[str, str]:
    rows = {f"history/{step}": text for step, text in media_history(file)}
    return plain(rows | content(file), file.parents[2])


def test_the_demo_leaves_the_same_run_as_on_wandb_with_a_row_for_each_log(short_path: Path) -> None:
    require(importlib.util.find_spec("sklearn"), "the demo trains on scikit-learn's digits")
    on_wandb_script = short_path / "demo.py"
    on_wandb_script.write_text(DEMO.read_text().replace("import client as wandb\n", "import wandb\n"))
    reference = on_wandb(on_wandb_script, short_path / "wandb")
    ours = through_the_sidecar(on_wandb_script, short_path / "ours")
    assert len(history(ours)) == 20 * 46 + 1, "20 epochs of 45 batches and one validation, and what the network sees"
    assert left(ours) == left(reference)
