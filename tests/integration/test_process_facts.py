"""What W&B knows of the process is the training process's, whenever it comes, and stays through a worker's death."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb.proto.wandb_internal_pb2  # noqa: F401 - now: its temporary folders must not be made inside a test

from client.protocol.messages import RunSpec
from client.protocol.records import Process
from telemetryd.runs import control, wandb_file
from tests.support.processes import wait_until
from tests.support.run_rig import RunRig, rows

FACTS = {
    "os": "Linux-1.2", "python": "CPython 3.9.1", "git_commit": "c0ffee", "git_remote_url": "https://host/r.git",
    "program_relpath": "src/train.py", "program_local": "train.py", "cpu_count": 96, "cpu_count_logical": 192,
    "memory_bytes": 1 << 40, "cpu_model": "A CPU", "gpu_count": 8, "gpu_type": "A GPU", "slurm": {"job_id": "7"},
}  # fmt: skip
FILES = {"diff.patch": b"-a\n+b\n", "requirements.txt": b"torch==2\n", "code/src/train.py": b"print()\n"}
METADATA = {"program": "train.py", "args": ["--lr", "1"], "host": "node7", "executable": "/opt/py", "cwd": "/"}


@pytest.fixture
def rig(short_path: Path) -> Iterator[RunRig]:
    rig = RunRig(short_path / "rig")
    rig.facts = True
    rig.add_run(RunSpec("r1", project="p", metadata=dict(METADATA), save_code=True))
    yield rig
    rig.close()


def environment(file: Path) -> Any:
    merged: Any = None
    for record in wandb_file.records(file):
        if record.WhichOneof("record_type") == "environment":
            if merged is None:
                merged = type(record.environment)()
            merged.MergeFrom(record.environment)
    return merged


def check(file: Path) -> None:
    found = environment(file)
    assert (found.os, found.python, found.host, found.executable) == ("Linux-1.2", "CPython 3.9.1", "node7", "/opt/py")
    assert (found.program, found.code_path, found.code_path_local) == ("train.py", "src/train.py", "train.py")
    assert (found.git.commit, found.git.remote_url) == ("c0ffee", "https://host/r.git")
    assert (found.cpu_count, found.cpu_count_logical, found.gpu_count, found.gpu_type) == (96, 192, 8, "A GPU")
    assert (found.memory.total, found.cpu.model, dict(found.slurm)) == (1 << 40, "A CPU", {"job_id": "7"})
    assert list(found.args) == ["--lr", "1"]
    folder = file.parent / "files"
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content
    published = {item.path for record in wandb_file.records(file) for item in record.files.files}
    assert set(FILES) <= published


def test_what_came_before_the_run_began_is_in_its_first_record(rig: RunRig) -> None:
    rig.append([Process(FACTS, FILES), *rows(3)])
    rig.start().finish()
    (file,) = rig.files()
    check(file)
    run = next(record.run for record in wandb_file.records(file) if record.WhichOneof("record_type") == "run")
    assert (run.git.commit, run.git.remote_url) == ("c0ffee", "https://host/r.git")


def test_what_comes_late_is_added_to_the_run_that_is_there(rig: RunRig) -> None:
    rig.append(rows(3))
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 3)
    rig.append([Process(FACTS, FILES)])
    worker.finish()
    (file,) = rig.files()
    check(file)


@pytest.mark.leaves_files("the worker is killed")
def test_a_worker_after_a_killed_one_still_knows_what_the_inbox_has_forgotten(rig: RunRig) -> None:
    rig.append([Process(FACTS, FILES), *rows(3)])
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 3)
    worker.kill()
    rig.append(rows(3, start=3))
    rig.start().finish()
    first, second = rig.files()
    check(first)
    check(second)


def test_a_client_that_sends_no_facts_is_not_waited_for(rig: RunRig) -> None:
    rig.facts = False
    rig.append(rows(3))
    worker = rig.start()
    worker.wait_for(control.Progress, lambda report: report.delivered == 3)
    worker.finish()
    found = environment(rig.files()[0])
    assert (found.program, found.host) == ("train.py", "node7")


@pytest.mark.parametrize(
    "name", ["../../escaped", "/tmp/escaped", "code/../../../escaped", "output.log", "config.yaml"]
)
def test_a_file_that_is_none_of_the_process_s_is_refused(rig: RunRig, name: str, short_path: Path) -> None:
    rig.append([Process({}, {name: b"evil", "diff.patch": b"kept"}), *rows(1)])
    rig.start().finish()
    (file,) = rig.files()
    wait_until(lambda: (file.parent / "files" / "diff.patch").exists(), 5)
    assert not [path for path in short_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"]
