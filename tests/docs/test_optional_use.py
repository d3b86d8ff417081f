"""docs/optional-use.md is true: its code runs, also where telemetryd is not installed, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Block, blocks

DOCUMENT = ROOT / "docs" / "optional-use.md"
BLOCKS = [block for block in blocks("py") if block.path == DOCUMENT]
NOT_INSTALLED = "import sys\nsys.modules['client'] = None\n"
NO_THREADS = "\nimport threading\nassert threading.active_count() == 1\nassert 'zmq' not in sys.modules\n"


def run(source: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_code_runs_and_leaves_nothing(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run(f"import sys\n{block.text}{NO_THREADS}", tmp_path)


def test_code_with_a_guarded_import_runs_without_telemetryd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    guarded = [block for block in BLOCKS if "except ImportError:\n    wandb = None" in block.text]
    assert guarded
    for block in guarded:
        run(f"{NOT_INSTALLED}{block.text}", tmp_path)


@pytest.mark.parametrize("variable", ["WANDB_MODE=disabled", "WANDB_DISABLED=true"])
def test_the_variables_that_turn_it_off(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert variable in DOCUMENT.read_text()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv(*variable.split("="))
    run(
        "import client\nrun = client.init(project='p')\nassert run.disabled\nclient.log({'a': 1})\nclient.finish()\n",
        tmp_path,
    )
