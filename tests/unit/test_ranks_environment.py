"""Who is who, told by the environment of each launcher. The variables are those that the launchers' own sources set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from client import ranks
from client.ranks import Launcher, Place

AGENT = Launcher(77, "boot host 77 123")
TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2", "ROLE_RANK": "5", "ROLE_WORLD_SIZE": "8", "MASTER_ADDR": "n0", "MASTER_PORT": "29500",
    "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_RUN_ID": "job-9",
}  # fmt: skip
ONE_NODE = {"GROUP_WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "8", "GROUP_RANK": "0", "LOCAL_RANK": "5"}
SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_RESTART_COUNT": "1",
}  # fmt: skip
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "2763456513",
    "OMPI_MCA_orte_hnp_uri": "2763456512.0;tcp://10.0.0.1:40000",
}  # fmt: skip
DEEPSPEED = {
    "RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4", "LOCAL_SIZE": "4", "CROSS_RANK": "0", "CROSS_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip
LIGHTNING = {
    "LOCAL_RANK": "2", "NODE_RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "40001",
}  # fmt: skip


def find(environ: dict[str, str], launcher: Launcher | None = AGENT) -> Place | None:
    return ranks.find(environ, lambda variable: launcher)


def test_torchrun_on_several_nodes_shares_the_rendezvous_id() -> None:
    assert find(TORCHRUN) == Place("torchrun", 5, 8, 1, 1, 2, "torchelastic job-9")


def test_torchrun_on_one_node_is_told_by_its_agent_because_rendezvous_ids_are_often_constants() -> None:
    place = find(TORCHRUN | ONE_NODE | {"TORCHELASTIC_RUN_ID": "none"})
    assert place == Place("torchrun", 5, 8, 5, 0, 2, "process boot host 77 123")
    assert find(TORCHRUN | ONE_NODE) == place


def test_torchrun_on_several_nodes_without_an_id_shares_nothing() -> None:
    place = find(TORCHRUN | {"TORCHELASTIC_RUN_ID": "none"})
    assert place is not None
    assert place.job is None


def test_torchrun_under_slurm_shares_the_job_step_that_a_requeue_starts_again() -> None:
    place = find(TORCHRUN | SLURM | {"TORCHELASTIC_RUN_ID": "none"})
    assert place == Place("torchrun", 5, 8, 1, 1, 3, "slurm  4711.0 torchelastic none")


def test_accelerate_is_torchrun_with_a_name_of_its_own() -> None:
    place = find(TORCHRUN | {"ACCELERATE_MIXED_PRECISION": "bf16"})
    assert place == Place("accelerate", 5, 8, 1, 1, 2, "torchelastic job-9")


def test_slurms_tasks_share_job_and_step() -> None:
    assert find(SLURM) == Place("slurm", 3, 4, 1, 1, 1, "slurm  4711.0")


@pytest.mark.parametrize("change", [{"SLURM_STEP_ID": ""}, {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"}])
def test_a_batch_script_or_a_shell_in_an_allocation_is_no_rank(change: dict[str, str]) -> None:
    assert find(SLURM | {"SLURM_PROCID": "0"} | change) is None


def test_open_mpis_processes_share_namespace_and_launcher() -> None:
    job = "openmpi 2763456513 2763456512.0;tcp://10.0.0.1:40000"
    assert find(OPEN_MPI) == Place("openmpi", 2, 4, 0, None, 0, job)
    place = find(OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"})
    assert place is not None
    assert place.job == "process boot host 77 123"


def test_deepspeeds_launcher_on_one_node_is_told_by_its_process() -> None:
    assert find(DEEPSPEED) == Place("deepspeed", 3, 4, 3, 0, 0, "process boot host 77 123")
    place = find(DEEPSPEED | {"CROSS_SIZE": "2", "WORLD_SIZE": "8"})
    assert place is not None
    assert place.job is None


def test_lightnings_own_processes_follow_the_one_that_started_them() -> None:
    assert find(LIGHTNING) == Place("lightning", 2, 4, 2, 0, 0, "process boot host 77 123")
    place = find(LIGHTNING | {ranks.PARENT_RUNS: "77:abc,def"})
    assert place is not None
    assert place.parent_runs == ("abc", "def")
    stranger = find(LIGHTNING | {ranks.PARENT_RUNS: "78:abc"})
    assert stranger is not None
    assert stranger.parent_runs == ()


def test_rank_and_world_size_alone_share_a_launch_where_there_is_one() -> None:
    bare = {"RANK": "1", "WORLD_SIZE": "2"}
    assert find(bare) == Place("env", 1, 2)
    place = find(bare | {"TELEMETRYD_LAUNCH": "ab"})
    assert place is not None
    assert place.job == "launch ab"


@pytest.mark.parametrize(
    "environ",
    [{}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}, {"RANK": "-1", "WORLD_SIZE": "2"},
     {"LOCAL_RANK": "0"}, {"WORLD_SIZE": "4"}],
)  # fmt: skip
def test_numbers_that_make_no_rank_are_no_place(environ: dict[str, str]) -> None:
    assert find(environ) is None


def test_ids_differ_by_job_program_project_and_count_and_by_nothing_else() -> None:
    first = ranks.run_id("job", "train.py", "project", 0)
    assert first == ranks.run_id("job", "train.py", "project", 0)
    others = {
        ranks.run_id(*given)
        for given in (("j", "train.py", "project", 0), ("job", "a", "project", 0), ("job", "train.py", "p", 0),
                      ("job", "train.py", "project", 1))
    }  # fmt: skip
    assert len(others) == 4
    assert first not in others
    assert len(first) == ranks.RUN_ID_CHARS
    assert first.isalnum()


def test_the_launcher_is_the_nearest_process_without_the_variable_even_behind_a_shell() -> None:
    show = "from client import ranks; print(ranks.launcher_process('RANK_OF_THIS_TEST').pid)"
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", show]
    ran = subprocess.run(
        command, env=os.environ | {"RANK_OF_THIS_TEST": "1"}, capture_output=True, text=True, timeout=60, check=True
    )
    assert int(ran.stdout) == os.getpid()
    itself = ranks.launcher_process("RANK_OF_THIS_TEST")
    assert itself is not None
    assert itself.pid == os.getpid()
