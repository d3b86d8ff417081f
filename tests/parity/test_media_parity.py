"""A script leaves the same media files on wandb and through the sidecar, by name and content, and the same rows."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.compare import content, media_history
from tests.support.requirements import require_module

require_module("wandb")
for module in ("numpy", "PIL", "torch", "matplotlib", "plotly"):
    require_module(module)

SCRIPTS = sorted((Path(__file__).parent / "media_scripts").glob("*.py"))


def on_wandb(script: Path, folder: Path) -> Path:
    return _run([sys.executable, str(script)], folder)


def through_the_sidecar(script: Path, folder: Path) -> Path:
    ours = folder.with_name("ours.py")
    text = script.read_text().replace("import wandb\n", "import client as wandb\n")
    ours.write_text(text.replace("from wandb.", "from client."))
    return _run([sys.executable, "-m", "telemetryd", "run", "--", sys.executable, str(ours)], folder)


def _run(command: list[str], folder: Path) -> Path:
    folder.mkdir()
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=115, check=False
    )
    files = list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert len(files) == 1, f"{files}\n{done.stdout}\n{done.stderr}"
    return files[0]


def media(path: Path) -> dict[str, str]:
    """The checksum of each media file of a run, by its name."""
    folder = path.parent / "files" / "media"
    found = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_a_script_leaves_the_same_media_as_on_wandb(script: Path, short_path: Path) -> None:
    reference = on_wandb(script, short_path / "wandb")
    ours = through_the_sidecar(script, short_path / "ours")
    assert media_history(ours) == media_history(reference)
    assert media(ours) == media(reference)
    assert content(ours) == content(reference)
