"""The scripts of deploy/slurm on a real Slurm: a controller and two node daemons on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from telemetryd.runs.wandb_file import history_rows
from tests.docs.markdown import ROOT
from tests.support.processes import wait_until
from tests.support.rank_rows import rows_by_rank
from tests.support.slurm import Cluster, require_slurm

pytestmark = [
    pytest.mark.manifests,
    pytest.mark.timeout(700),
    pytest.mark.leaves_files("jobs are killed"),
]
SCRIPTS = ROOT / "deploy" / "slurm"
JOB = Path(__file__).parent / "slurm_job.py"
Clusters = Callable[..., Cluster]


@pytest.fixture
def clusters(short_path: Path) -> Iterator[Clusters]:
    require_slurm()
    made: list[Cluster] = []

    def make(more: str = "") -> Cluster:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "PYTHONPATH": str(ROOT), "TELEMETRYD_STATE_DIR": str(short_path / "node")}
        made.append(Cluster(short_path / "slurm", more, env))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


def rows_of(folder: Path) -> Counter[int]:
    """How often each row number stands in the files of the runs below a folder."""
    files = sorted(folder.glob("wandb/*run-*/run-*.wandb"))
    return Counter(int(row["i"]) for file in files for _, row in history_rows(file) if "i" in row)


def checkpoint_of(folder: Path) -> int:
    path = folder / "checkpoint"
    return int(path.read_text() or 0) if path.exists() else 0


def test_a_job_that_is_told_to_end_is_requeued_and_goes_on_in_the_same_run(
    clusters: Clusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    cluster = clusters()
    job = cluster.submit(tmp_path, SCRIPTS / "one-node.sbatch", "python", JOB, "400", "50")
    wait_until(lambda: checkpoint_of(tmp_path) > 50, 180, cluster.told, poll_s=0.1)
    cluster.ask("scancel", "--batch", "--signal=USR1", job)
    wait_until(lambda: cluster.job(job).get("Restarts") == "1", 180, lambda: (tmp_path / "job.out").read_text(), 0.3)
    begun_again_at = checkpoint_of(tmp_path)
    assert 50 < begun_again_at < 400

    def completed() -> bool:  # Slurm waits two minutes unless it is told otherwise, once the job is in the queue again
        idle = cluster.ask("sinfo", "--noheader", "--format=%t").split() == ["idle"]
        if idle and cluster.job(job).get("JobState") == "PENDING":  # sooner, the node still cleans up: the start fails
            cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
        return cluster.job(job).get("JobState") == "COMPLETED"

    wait_until(completed, 300, lambda: f"{cluster.job(job)}\n{(tmp_path / 'job.out').read_text()}", poll_s=0.5)
    assert cluster.job(job)["ExitCode"] == "0:0"
    said = (tmp_path / "job.out").read_text()
    assert f"run slurm-{job} from 0\n" in said
    assert f"run slurm-{job} from {begun_again_at}\n" in said
    assert rows_of(tmp_path) == Counter(range(400))


def test_a_job_on_two_nodes_is_one_run_with_a_daemon_on_the_first(
    clusters: Clusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    cluster = clusters()
    ranks = 'cd "$SLURM_PROCID" && RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS exec "$@"'
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
    job = cluster.submit(
        tmp_path, "--export=ALL,TELEMETRYD_RANKS=all", SCRIPTS / "several-nodes.sbatch",
        "sh", "-c", ranks, "sh", "python", JOB, "200", "50",
    )  # fmt: skip
    assert cluster.wait_state(job, "COMPLETED")["ExitCode"] == "0:0"
    files = list(tmp_path.glob(f"wandb/*run-*/run-slurm-{job}.wandb"))  # several where a run worker was started anew
    for rank, counted in rows_by_rank(files, 2).items():
        assert counted == Counter(range(200)), f"rank {rank}"
    assert list((Path.home() / ".telemetryd").iterdir()) == [], "the job's keys are gone"
    # A sampler was started on both nodes. They are one machine here, which the daemon samples itself and which has room
    # for one; that the other one failed is nothing to the job.
    said = (tmp_path / "job.out").read_text()
    assert said.count(" at_home ") == 1, said
    assert said.count("telemetryd node: another daemon uses the state folder") == 1, said
    assert said.count("telemetryd: stopped; 0 values sampled, 0 dropped") == 1, "it was told to end, and did"


def test_a_killed_jobs_rows_are_delivered_by_the_daemon_of_the_prolog(
    clusters: Clusters, tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.delenv("TELEMETRYD_STATE_DIR", raising=False)
    scripts = short_path / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    settings = (scripts / "settings.sh").read_text()
    jobs, logs = short_path / "jobs", short_path / "logs"
    logs.mkdir()
    for script in scripts.glob("*.sh"):
        text = script.read_text().replace("/var/spool/telemetryd-jobs", str(jobs)).replace("/var/log", str(logs))
        script.write_text(text.replace("/opt/telemetryd/bin/telemetryd", f"{Path(sys.executable).parent}/telemetryd"))
    assert "/var/spool/telemetryd-jobs" in settings
    more = f"Prolog={scripts}/prolog.sh\nTaskProlog={scripts}/task-prolog.sh\nEpilog={scripts}/epilog.sh"
    cluster = clusters(f"{more}\nPrologFlags=Alloc")

    def told() -> str:
        return "\n".join(path.read_text() for path in [*logs.iterdir(), *jobs.rglob("daemon.log")]) + cluster.told()

    job = cluster.submit(tmp_path, "--ntasks=1", "--wrap", f"srun python {JOB} 100000 100")
    wait_until(lambda: checkpoint_of(tmp_path) > 200, 180, told, poll_s=0.1)
    cluster.ask("scancel", "--signal=KILL", job)
    cluster.ask("scancel", job)
    logged = wait_until(lambda: cluster.job(job).get("JobState") == "CANCELLED" and checkpoint_of(tmp_path), 90, told)
    wait_until(lambda: not list(jobs.glob("*/*")), 120, told, poll_s=0.5)
    assert set(rows_of(tmp_path)) >= set(range(logged))
    assert max(rows_of(tmp_path).values()) == 1
    assert f"run slurm-{job} from 0" in (tmp_path / "job.out").read_text()
