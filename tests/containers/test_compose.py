"""docker-compose.yml with real containers: the demo to its end, and what happens to containers in the middle.

Rows are counted on both sides: what `log` returned for, in the job's own account, and what the offline run or the
stand-in has.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetryd.runs.wandb_file import history_rows
from tests.support.engine import USER, Project, docker, inspect, run
from tests.support.processes import wait_until
from tests.support.trainer import read_account

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400)]

HERE = Path(__file__).parent
DEMO_ROWS = 921
KEY = secrets.token_hex(20)
"""Of the online tests: one that is found nowhere by chance, as the stand-in's own would be."""
Projects = Callable[..., Project]


class Job:
    """The numbered job in the trainer's place."""

    def __init__(self, projects: Projects, folder: Path, rows: int, rows_per_s: int, *, standin: bool = False) -> None:
        self.account = folder / "account"
        self.account.mkdir()
        self.account.chmod(0o777)
        self.folder = folder
        env = {"ROWS": str(rows), "ROWS_PER_S": str(rows_per_s), "ACCOUNT_DIR": str(self.account)}
        if standin:
            key = folder / "key"
            key.write_text(f"{KEY}\n")
            key.chmod(0o644)
            env["WANDB_API_KEY_FILE"] = str(key)
        self.project = projects(HERE / "numbered.yml", env=env, standin=standin)

    def up(self) -> None:
        self.project.compose("up", "--detach", "--no-build")

    def returned(self) -> set[int]:
        """The rows whose `log` returned."""
        path = self.account / "rows"
        if not path.exists():
            return set()
        errors, calls, _ = read_account(path.read_bytes())
        assert errors == 0
        return {row for row, took_ns in enumerate(calls) if took_ns}

    def wait_logged(self, rows: int) -> None:
        wait_until(lambda: len(self.returned()) >= rows, 240, lambda: self.project.told("trainer"), poll_s=0.1)

    def in_offline_run(self) -> Counter[int]:
        return offline_rows(self.project, self.folder)


def offline_rows(project: Project, folder: Path) -> Counter[int]:
    """How often each row number stands in the run's files."""
    files = sorted(project.runs_folder(folder).glob("*run-*/run-*.wandb"))
    assert files
    return Counter(int(row["i"]) for file in files for _, row in history_rows(file) if "i" in row)


def standin_rows(project: Project, run_id: str) -> list[dict[str, object]]:
    """The stand-in's history of a run."""
    script = f"""
import json, urllib.request
body = json.dumps({{"run": "{run_id}"}}).encode()
print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8081/_control/rows", body)).read().decode())
"""
    asked = run(["docker", "exec", project.container("standin"), "python3", "-c", script], check=False)
    return list(json.loads(asked.stdout)) if asked.returncode == 0 else []  # it does not know the run yet


def once(counted: Counter[int]) -> set[int]:
    """The numbers, of which none may be there twice."""
    assert [row for row, times in counted.items() if times > 1] == []
    return set(counted)


def test_compose_up_runs_the_demo_to_its_end_without_a_key_as_an_offline_run(
    projects: Projects, tmp_path: Path
) -> None:
    project = projects()
    said = project.compose("up", "--no-build", "--exit-code-from", "trainer")
    assert f"{DEMO_ROWS} offered = {DEMO_ROWS} delivered + 0 dropped + 0 pending" in said.stdout + said.stderr
    (file,) = project.runs_folder(tmp_path).glob("offline-run-*/run-*.wandb")
    assert [step for step, _ in history_rows(file)] == list(range(DEMO_ROWS))
    assert inspect(project.container("daemon"))["State"]["ExitCode"] == 0


def test_compose_up_with_the_standin_runs_the_demo_online(projects: Projects) -> None:
    project = projects(standin=True)
    said = project.compose("up", "--no-build", "--detach", "--wait", "standin", "daemon").stderr
    project.compose("up", "--no-build", "--detach", "trainer")
    assert project.wait_exit("trainer") == 0, said
    told = project.told("trainer")
    assert f"{DEMO_ROWS} offered = {DEMO_ROWS} delivered + 0 dropped + 0 pending" in told
    (started,) = project.status()["runs"]
    rows = standin_rows(project, started["key"].rpartition("/")[2])
    assert [row["_step"] for row in rows] == list(range(DEMO_ROWS))


def test_both_images_run_as_a_user_on_a_read_only_root_without_compiler_or_capability(projects: Projects) -> None:
    job = projects(HERE / "numbered.yml", env={"ROWS": "100000", "ROWS_PER_S": "1", "ACCOUNT_DIR": "/tmp"})
    job.compose("up", "--detach", "--no-build")
    for service, folder in (("daemon", "/opt/telemetryd"), ("trainer", "/opt/trainer")):
        assert job.sh(service, "id -u") == str(USER)
        assert job.sh(service, "id -G") == str(USER)
        refused = job.sh(service, f"touch /x {folder}/x /usr/x /workspace/x /etc/x 2>&1 | grep -c 'Read-only'")
        assert int(refused) >= 4
        assert job.sh(service, "command -v gcc cc c++ clang ld as tcc", check=False) == ""
        assert job.sh(service, "grep CapEff /proc/self/status").split()[1].strip("0") == ""
        assert job.sh(service, "grep NoNewPrivs /proc/self/status").split()[1] == "1"
        assert job.sh(service, "cat /proc/1/comm") == "tini"
        found = inspect(job.container(service))["Config"]["Labels"]
        assert {f"org.opencontainers.image.{name}" for name in ("title", "version", "licenses")} <= found.keys()
    for module in ("wandb", "psutil", "pynvml"):
        assert job.sh("trainer", f"python -c 'import {module}' 2>&1", check=False).endswith(f"'{module}'")
    assert job.sh("trainer", "python -c 'import client.fastlog as f; print(f.COMPILED)'") == "True"
    assert job.sh("trainer", "ls /sys/class/net") == "lo"


def test_a_daemon_killed_and_stopped_in_the_middle_loses_nothing_and_its_health_says_so(
    projects: Projects, tmp_path: Path
) -> None:
    job = Job(projects, tmp_path, rows=6000, rows_per_s=100, standin=True)
    project = job.project
    job.up()
    job.wait_logged(300)

    before = inspect(project.container("daemon"))["RestartCount"]
    project.sh("daemon", f"kill -KILL {project.daemon_pid()}", check=False)
    wait_until(
        lambda: inspect(project.container("daemon"))["RestartCount"] > before and project.health("daemon") == "healthy",
        240,
        lambda: project.told("daemon"),
        poll_s=0.5,
    )
    job.wait_logged(len(job.returned()) + 200)

    pid = project.daemon_pid()
    project.sh("daemon", f"kill -STOP {pid}")
    project.wait_health("daemon", "unhealthy")
    stopped_at = len(job.returned())
    job.wait_logged(min(6000, stopped_at + 100))
    project.sh("daemon", f"kill -CONT {pid}")
    project.wait_health("daemon", "healthy")

    assert project.wait_exit("trainer") == 0, project.told("trainer")
    project.settle()
    rows = once(Counter(int(str(row["i"])) for row in standin_rows(project, "numbered")))
    assert rows == job.returned() == set(range(6000))


def test_the_key_is_in_no_variable_file_process_or_volume_of_the_training(projects: Projects, tmp_path: Path) -> None:
    job = Job(projects, tmp_path, rows=1_000_000, rows_per_s=20, standin=True)
    project = job.project
    job.up()
    job.wait_logged(20)
    wait_until(lambda: standin_rows(project, "numbered"), 240, lambda: project.told("daemon"), poll_s=1.0)
    assert project.sh("daemon", "cat $WANDB_API_KEY_FILE") == KEY
    name = project.container("trainer")
    assert KEY not in str(inspect(name))
    assert KEY not in docker("exec", name, "env")
    everywhere = f"grep -rlFs --exclude-dir=proc --exclude-dir=sys -e {KEY} / ; true"
    assert project.sh("trainer", everywhere) == ""
    processes = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    seen = project.sh("trainer", processes, check=False)
    assert KEY not in seen
    assert "/job/trainer.py" in seen.splitlines()
    assert "serve" not in seen.splitlines(), "the daemon's processes are seen from the training"
    assert "secrets" not in project.sh("trainer", "cat /proc/self/mountinfo")


def test_rows_of_a_training_process_killed_for_memory_are_all_there_with_its_exit_code(
    projects: Projects, tmp_path: Path
) -> None:
    project = projects(HERE / "hungry.yml", env={"ROWS": "2000"})
    project.compose("up", "--detach", "--no-build")
    assert project.wait_exit("trainer") == 137, project.told("trainer")
    assert "logged" in project.told("trainer")
    status = project.settle()
    assert (status["offered"], status["delivered"], status["dropped"]) == (2000, 2000, {})
    assert status["runs"][0]["exit_code"] == 137
    assert once(offline_rows(project, tmp_path)) == set(range(2000))


@pytest.mark.parametrize("order", [("daemon", "trainer"), ("trainer", "daemon")], ids="-then-".join)
def test_docker_stop_in_either_order_loses_nothing(projects: Projects, tmp_path: Path, order: tuple[str, str]) -> None:
    job = Job(projects, tmp_path, rows=100_000, rows_per_s=200)
    project = job.project
    job.up()
    job.wait_logged(400)
    for service in order:
        at = len(job.returned())
        docker("stop", project.container(service))
        if service == "daemon":
            assert project.state("daemon")["ExitCode"] == 0, project.told("daemon")
        if service == "daemon" and order[0] == "daemon":
            job.wait_logged(at + 200)
    assert project.state("trainer")["ExitCode"] == 128 + 15
    returned = job.returned()
    assert 400 < len(returned) < 100_000
    project.compose("start", "daemon")
    project.wait_health("daemon", "healthy")
    status = project.settle()
    assert once(job.in_offline_run()) >= returned
    assert status["dropped"] == {}
