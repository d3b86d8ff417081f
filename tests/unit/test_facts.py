"""What is looked up of a process beside training: the same as wandb says, and whatever fails costs itself alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from client import guard, process_info
from client.facts import git, machine, packages
from client.facts.gather import Gatherer
from client.facts.gathering import Gathering
from client.limits import FACT_FILE_MAX_BYTES, GIT_TIMEOUT_S
from client.protocol.records import Process
from tests.parity import project
from tests.support.requirements import require_module


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    script = tmp_path / "script.py"
    script.write_text("print()\n")
    return project.make(tmp_path / "repository", script)


def test_packages_are_those_that_wandb_lists_in_its_order() -> None:
    working_set = require_module("wandb.util").working_set
    assert packages.requirements() == "".join(f"{d.key}=={d.version}\n" for d in working_set()).encode()


def test_a_damaged_distribution_and_a_path_that_is_none_are_left_out(tmp_path: Path) -> None:
    for name, text in (
        ("good-1.dist-info", "Metadata-Version: 2.1\nName: Good\nVersion: 1\n\nName: no\n"),
        ("bad-2.dist-info", ""),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "METADATA").write_text(text)
    (tmp_path / "old.egg-info").write_text("Name: old\nVersion: 3\n")
    found = packages.packages([str(tmp_path), "/nowhere", str(tmp_path / "old.egg-info")])
    assert sorted(found) == [("Good", "1"), ("old", "3")]


def test_commit_and_remote_are_gits_without_a_secret(repository: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    assert git.git_commit(repository) == head.stdout.strip()
    project.git(repository, "remote", "add", "other", "https://me:secret@host/digits.git")
    assert git.git_remote_url(repository) == project.REMOTE
    assert git.git_remote_url(repository, "other") == "https://host/digits.git"


def test_changes_are_told_since_the_commit_and_since_what_the_branch_follows(repository: Path, tmp_path: Path) -> None:
    assert set(git.patches(repository, threading.Event())) == {"diff.patch"}
    assert b"+RATE = 2" in git.patches(repository, threading.Event())["diff.patch"]
    project.git(repository, "clone", "--quiet", "--bare", str(repository), str(tmp_path / "bare"))
    project.git(repository, "remote", "set-url", "origin", str(tmp_path / "bare"))
    project.git(repository, "fetch", "--quiet")
    project.git(repository, "branch", "--set-upstream-to=origin/main")
    upstream = git.git_commit(repository)
    (repository / "more.py").write_text("MORE = 1\n")
    project.git(repository, "add", "more.py")
    project.git(repository, "commit", "--quiet", "--message", "More")
    found = git.patches(repository, threading.Event())
    assert set(found) == {"diff.patch", f"diff_{upstream}.patch"}
    assert b"MORE" in found[f"diff_{upstream}.patch"]
    assert b"MORE" not in found["diff.patch"]


def test_no_commit_no_repository_and_no_git_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git.patches(tmp_path, threading.Event()) == {}
    project.git(tmp_path, "init", "--quiet")
    assert git.patches(tmp_path, threading.Event()) == {}
    assert git.git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert git.patches(tmp_path, threading.Event()) == {}


def test_a_diff_beyond_its_cap_is_left_out_and_counted_and_the_rest_is_kept(repository: Path) -> None:
    (repository / "helper.py").write_text("x\n" * FACT_FILE_MAX_BYTES)
    known = {"cwd": str(repository), "program": "train.py", "program_abspath": str(repository / "train.py")}
    found = Gatherer(known, {}, code=True).gather()
    assert [where for where, _ in guard.raised] == ["facts.git"]
    guard.raised.clear()
    assert set(found.files) == {"requirements.txt", "code/train.py"}
    assert found.facts["git_commit"]


def test_the_machine_is_what_psutil_says() -> None:
    found = machine.machine({"SLURM_JOB_ID": "7", "HOME": "/"})
    assert found["cpu_count_logical"] == psutil.cpu_count()
    assert found["cpu_count"] == psutil.cpu_count(logical=False)
    assert found["memory_bytes"] == psutil.virtual_memory().total
    assert found["slurm"] == {"job_id": "7"}


def test_gpus_are_counted_as_the_driver_lists_them(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
        (tmp_path / f"0000:0{number}:00.0" / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   1\n")
    assert machine.gpu_models(tmp_path) == ["NVIDIA H100 80GB HBM3"] * 2
    assert machine.gpu_models(tmp_path / "none") == []


def test_settings_decide_what_is_looked_at(repository: Path) -> None:
    known = {
        "cwd": str(repository),
        "program": str(repository / "train.py"),
        "program_abspath": str(repository / "train.py"),
    }
    plain = Gatherer(known, {}, code=False).gather()
    assert set(plain.files) == {"requirements.txt"}
    assert (plain.facts["program_relpath"], plain.facts["git_root"]) == ("train.py", str(repository))
    quiet = Gatherer(known, {"disable_git": "true", "x_save_requirements": False}, code=True).gather()
    assert set(quiet.files) == {"code/train.py"}
    assert "git_commit" not in quiet.facts
    hidden = Gatherer(known, {"x_disable_machine_info": True}, code=False).gather()
    assert not {"cpu_count", "git_commit"} & set(hidden.facts)


def test_without_a_main_file_there_is_no_code(tmp_path: Path) -> None:
    found = Gatherer({"cwd": str(tmp_path), "program": "-m pkg.train"}, {}, code=True).gather()
    assert "program_relpath" not in found.facts
    assert set(found.files) == {"requirements.txt"}


def test_the_end_waits_for_what_is_being_looked_up_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.facts.gathering.FACTS_WAIT_S", 0.05)
    going, seen = threading.Event(), []
    gathering = Gathering(
        lambda process: (going.wait(10), seen.append(process)), process_info.metadata(), {}, code=False
    )
    gathering.start()
    began_s = time.monotonic()
    gathering.finish()
    assert time.monotonic() - began_s < 5
    assert not seen
    going.set()
    gathering._thread.join(10)
    assert isinstance(seen[0], Process)


SCRIPT = """
import time
began = time.perf_counter()
import client
run = client.init(project="p", id="facts", save_code=True)
print(time.perf_counter() - began)
run.log({"a": 1})
run.finish()
"""


def test_init_does_not_wait_for_a_git_that_hangs(repository: Path, tmp_path: Path) -> None:
    shims = tmp_path / "bin"
    shims.mkdir()
    (shims / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (shims / "git").chmod(0o755)
    program = repository / "train.py"
    program.write_text(SCRIPT)
    environ = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=repository,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < GIT_TIMEOUT_S - 2
    assert time.monotonic() - began_s < 40, "the end of the session waits for a moment only"
