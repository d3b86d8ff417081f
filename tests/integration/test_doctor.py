"""`telemetryd doctor`: each thing that can be wrong is found, told, and comes with what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from telemetryd.cli import checks, doctor
from telemetryd.cli.checks import Finding, Level
from telemetryd.cli.limits import INODES_MIN, ROOM_MIN_BYTES
from telemetryd.settings import load
from tests.support.daemon import Daemon
from tests.support.terminal import Terminal
from tests.support.wire_daemon import WireDaemon

KEY = "0123456789abcdef0123456789abcdef01234567"


def run(*arguments: str, cwd: Path | None = None, **env: str) -> tuple[int, dict[str, Finding], str]:
    """Exit code, findings by subject, and everything printed by both forms."""
    told = []
    for form in ((), ("--json",)):
        line = [sys.executable, "-m", "telemetryd", "doctor", *form, *arguments]
        told.append(
            subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=cwd, env={**os.environ, **env})
        )
    page, document = told
    assert page.returncode == document.returncode, page.stderr + document.stderr
    found = json.loads(document.stdout)
    assert found["ok"] is (document.returncode == 0)
    findings = {
        entry["subject"]: Finding(entry["subject"], Level(entry["level"]), entry["text"], entry["advice"])
        for entry in found["findings"]
    }
    for finding in findings.values():
        assert finding.subject in page.stdout
        assert bool(finding.advice) is (finding.level is not Level.OK), finding
    return document.returncode, findings, page.stdout + page.stderr + document.stdout + document.stderr


def test_every_subject_is_looked_at_and_warnings_alone_are_no_failure(tmp_path: Path) -> None:
    code, findings, _ = run(cwd=tmp_path)
    assert code == 0
    assert list(findings) == [
        "python", "telemetryd", "client packages", "daemon packages", "client module", "daemon", "socket", "state",
        "spool", "W&B key", "GPU driver",
    ]  # fmt: skip
    assert findings["daemon"].level is Level.WARNING
    assert "telemetryd serve" in findings["daemon"].advice


def test_a_daemon_that_answers_is_found(daemon: Daemon, tmp_path: Path) -> None:
    _, findings, _ = run(cwd=tmp_path)
    assert findings["daemon"] == checks.ok("daemon", f"process {daemon.pid} answers at {daemon.endpoint}")
    assert "daemon's spool" not in findings


def test_a_daemon_that_does_not_answer_is_a_failure(isolated: Path, tmp_path: Path) -> None:
    with WireDaemon(f"ipc://{isolated}/run/telemetryd/daemon.sock") as fake:
        fake.mute = True
        code, findings, _ = run(cwd=tmp_path)
    assert code == 1
    assert findings["daemon"].level is Level.FAILURE
    assert "does not answer" in findings["daemon"].text


def test_a_daemon_with_another_spool_or_protocol_is_told(isolated: Path, tmp_path: Path) -> None:
    with WireDaemon(f"ipc://{isolated}/run/telemetryd/daemon.sock") as fake:
        fake.replies["ping"] = lambda args: {"pid": 7, "spool_dir": "/theirs", "protocol": "9.0"}
        code, findings, _ = run(cwd=tmp_path)
    assert code == 1
    assert "TELEMETRYD_SPOOL_DIR=/theirs" in findings["daemon's spool"].advice
    assert findings["daemon's protocol"].advice == "update the older side"


@pytest.mark.parametrize("name", ["client.py", "client/__init__.py"])
def test_a_client_module_of_the_jobs_own_is_a_failure(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    code, findings, _ = run(cwd=tmp_path)
    assert code == 1
    assert "hides telemetryd's `client`" in findings["client module"].text
    assert "rename it" in findings["client module"].advice


def test_folders_that_cannot_be_written_are_failures(tmp_path: Path) -> None:
    code, findings, _ = run("--state-dir", "/proc/none", "--endpoint", "ipc:///proc/none/d.sock", cwd=tmp_path)
    assert code == 1
    assert {name for name, found in findings.items() if found.level is Level.FAILURE} == {"state", "spool", "socket"}
    assert "choose another with --state-dir or TELEMETRYD_STATE_DIR" in findings["state"].advice


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("WANDB_API_KEY", "for wandb.example.org in WANDB_API_KEY"),
        ("WANDB_API_KEY_FILE", "(WANDB_API_KEY_FILE)"),
        ("netrc", "for wandb.example.org in "),
    ],
)
def test_a_key_is_found_and_never_shown(isolated: Path, tmp_path: Path, where: str, found: str) -> None:
    secret = tmp_path / "secret"
    env = {"WANDB_BASE_URL": "https://wandb.example.org"}
    if where == "netrc":
        (isolated / "home" / ".netrc").write_text(f"machine wandb.example.org login user password {KEY}\n")
        (isolated / "home" / ".netrc").chmod(0o600)
    elif where == "WANDB_API_KEY_FILE":
        secret.write_text(KEY + "\n")
        env[where] = str(secret)
    else:
        env[where] = KEY
    _, findings, everything = run(cwd=tmp_path, **env)
    assert findings["W&B key"].level is Level.OK
    assert found in findings["W&B key"].text
    assert KEY not in everything
    assert KEY[:8] not in everything


def test_no_key_is_a_warning_that_says_what_happens_to_runs(tmp_path: Path) -> None:
    _, findings, _ = run(cwd=tmp_path)
    assert "runs are kept offline" in findings["W&B key"].text
    assert "wandb sync" in findings["W&B key"].advice


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("", "is empty")])
def test_a_key_file_that_has_no_key_is_a_failure(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "secret").write_text(text)
    code, findings, _ = run(cwd=tmp_path, WANDB_API_KEY_FILE=str(tmp_path / "secret"))
    assert code == 1
    assert said in findings["W&B key"].text


MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/me/größe\040disk xfs rw 0 0
overlay /home/me/over overlay rw 0 0
tmpfs /home/me/over tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/x", "ext4"),
        ("/dev/shm/spool", "tmpfs"),
        ("/dev/shmoo", "ext4"),
        ("/home/me/spool", "nfs4"),
        ("/home/me/größe disk/spool", "xfs"),
        ("/home/me/over", "tmpfs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    assert checks.file_system(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "said"),
    [("tmpfs", "gone after a restart"), ("nfs4", "put it on a local disk"), ("fuse.gcsfuse", "network")],
)
def test_a_spool_in_memory_or_on_a_network_is_a_warning(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    monkeypatch.setattr(checks, "file_system", lambda path: kind)
    (finding,) = checks.folder("spool", short_path / "spool", "--spool-dir")
    assert finding.level is Level.WARNING
    assert kind in finding.text
    assert said in finding.advice


@pytest.mark.skipif(checks.file_system(Path("/dev/shm")) != "tmpfs", reason="/dev/shm is no tmpfs here")
def test_a_real_tmpfs_is_recognised() -> None:
    assert checks.file_system(Path("/dev/shm/some/folder")) == "tmpfs"


@pytest.mark.parametrize(
    ("blocks", "inodes", "said"),
    [(10, 10**6, "make room"), (10**9, INODES_MIN - 1, "out of inodes"), (10**9, 10**6, "")],
)
def test_little_room_and_few_inodes_are_warnings(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, inodes: int, said: str
) -> None:
    room = os.statvfs_result((4096, 4096, 10**9, blocks, blocks, 10**7, inodes, inodes, 0, 255))
    assert (blocks * 4096 < ROOM_MIN_BYTES) is (said == "make room")
    monkeypatch.setattr(checks.os, "statvfs", lambda path: room)
    monkeypatch.setattr(checks, "file_system", lambda path: "ext4")
    (finding,) = checks.folder("spool", short_path / "spool", "--spool-dir")
    assert said in finding.advice
    assert (finding.level is Level.OK) is (said == "")


def test_no_check_raises_whatever_the_environment_is(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (isolated / "home" / ".netrc").write_bytes(b"\xff\xfe not a netrc {")
    for url in ("not a url at all", "https://[half", ""):
        environ = {"WANDB_BASE_URL": url, "NETRC": str(isolated / "home" / ".netrc")}
        assert [finding.subject for finding in checks.every(load().settings, environ)][-1] == "GPU driver"


def test_the_page_fits_a_narrow_terminal_and_cuts_no_path() -> None:
    long = Finding(
        "spool", Level.FAILURE, "the folder " + "/a-path" * 12 + " cannot be written", "choose another one " * 5
    )
    lines = list(doctor.page([long], 60, coloured=False))
    assert any("/a-path" * 12 in line for line in lines)
    assert all(len(line) <= 60 for line in lines if "/a-path" not in line)
    assert lines[0].startswith("✗ spool")
    assert lines[-1] == "1 of 1 checks failed"


def test_a_terminal_gets_colours_unless_it_wants_none(tmp_path: Path) -> None:
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        line = [sys.executable, "-m", "telemetryd", "doctor"]
        with Terminal(line, cwd=tmp_path, env=env) as terminal:
            assert terminal.wait() == 0
        assert ("\x1b[32m✓" in terminal.text) is coloured
