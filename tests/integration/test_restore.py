"""`restore` through a real daemon from the stand-in, as wandb's own restores it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from tests.standin.fixture import running
from tests.support.world import World

SCRIPT = """
    import pathlib
    import wandb

    pathlib.Path("model.txt").write_text("weights" * 200_000)
    with wandb.init(project="p", id="first") as run:
        run.save("model.txt", policy="now")
        run.log({"a": 1})
        path = run.path
    pathlib.Path("model.txt").unlink()
    with wandb.init(project="p", id="second") as run:
        found = run.restore("model.txt", path, root="there")
        print(len(found.read()), found.name)
        found.close()
        print(wandb.restore("model.txt", path, root="here").read()[:7])
        try:
            run.restore("model.txt", "nobody/p/none", root="elsewhere")
        except wandb.Error as error:
            print(type(error).__name__)
    print(len(wandb.restore("model.txt", path, replace=True, root="here").read()))
"""


def restored(folder: Path, environment: dict[str, str], *, ours: bool) -> str:
    folder.mkdir()
    source = textwrap.dedent(SCRIPT)
    script = folder / "script.py"
    script.write_text(source.replace("import wandb\n", "import client as wandb\n") if ours else source)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=os.environ | environment | {"WANDB_SILENT": "true"},
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files_are_restored_as_by_wandb(short_path: Path) -> None:
    with running() as standin:
        theirs = restored(short_path / "wandb", {**standin.environment(), "WANDB_ENTITY": "e"}, ours=False)
    with running() as standin:
        world = World(short_path / "w", standin)
        try:
            world.start_daemon()
            keyless = {**world.environment, "WANDB_MODE": "online", "WANDB_ENTITY": "e"}
            ours = restored(short_path / "ours", keyless, ours=True)
            world.stop_daemon()
        finally:
            world.close()
    assert ours == theirs
    assert ours.startswith("1400000 there/model.txt\nweights\n")
