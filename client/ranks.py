"""Who is who in a distributed job, told by the environment that its launcher gave to this process.

`find` is a pure function of the variables and of one question about processes (`launcher_process`). What it finds:

    rank, world size, local rank, node     as the launcher numbers them
    restart                                how often the launcher has restarted the ranks or the job
    job                                    a text that every rank of the job sees alike and no other job does; the run's
                                           id is made from it, without a word between the ranks. None where the launcher
                                           gives nothing of the kind

| launcher | known by | job |
|---|---|---|
| torchrun, Accelerate | TORCHELASTIC_RUN_ID | Slurm's job step; on one node the agent's process; else that id |
| Slurm (srun) | SLURM_PROCID, SLURM_STEP_ID, several tasks | job and step: the same again after a requeue |
| Open MPI | OMPI_COMM_WORLD_RANK | on one node the launching process; else PMIX_NAMESPACE and mpirun's address |
| DeepSpeed | RANK, CROSS_RANK | on one node the launching process; under Slurm the job step |
| Lightning's own | LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, no RANK | the process that started the others; one node |
| anything else | RANK, WORLD_SIZE | Slurm's job step, else the launch of `telemetryd run` |

A rendezvous id is the user's, and often a constant such as "100": on one node the launching process is surer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from client.digests import sha256

_LAUNCHER_DEPTH_MAX = 16
_RUN_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
RUN_ID_CHARS = 12
"""62 bits: beyond chance, where ids are made by hash."""

PARENT_RUNS = "TELEMETRYD_PARENT_RUNS"
"""Set by `init` in a process that no launcher numbered: "PID:ID,ID…". A process that turns out to be a local launcher
(Lightning's main process) hands its runs' ids on to the ranks it starts by that."""


class Place(msgspec.Struct, frozen=True):
    """This process's place in its job; see the module's head. `parent_runs`: ids that the launching process made."""

    launcher: str
    rank: int
    world_size: int
    local_rank: int | None = None
    node: int | None = None
    restart: int = 0
    job: str | None = None
    parent_runs: tuple[str, ...] = ()


class Launcher(msgspec.Struct, frozen=True):
    """The process that numbered the ranks: `pid` on this machine, `identity` unlike that of any other process ever."""

    pid: int
    identity: str


def find(environ: Mapping[str, str], launcher_process: Callable[[str], Launcher | None]) -> Place | None:
    """This process's place, None when no launcher numbered it.

    `launcher_process(variable)` is the nearest process, this one or above it, that was started without `variable`.
    """
    for read in (_torch_elastic, _open_mpi, _torch_env, _slurm, _lightning):
        place = read(environ, launcher_process)
        if place is not None and 0 <= place.rank < place.world_size:
            return place
    return None


def run_id(job: str, program: str, scope: str, ordinal: int) -> str:
    """The id of the `ordinal`-th run (from 0) that every rank of `job` begins in `scope` (project and the like)."""
    digest = sha256("\0".join((job, program, scope, str(ordinal))).encode())
    number = int.from_bytes(digest, "big")
    characters = []
    for _ in range(RUN_ID_CHARS):
        number, index = divmod(number, len(_RUN_ID_CHARACTERS))
        characters.append(_RUN_ID_CHARACTERS[index])
    return "".join(characters)


def _torch_elastic(environ: Mapping[str, str], process: Callable[[str], Launcher | None]) -> Place | None:
    rank, world = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    if rank is None or world is None or "TORCHELASTIC_RUN_ID" not in environ:
        return None
    nodes = _number(environ, "GROUP_WORLD_SIZE")
    one_node = nodes == 1 or (nodes is None and world == _number(environ, "LOCAL_WORLD_SIZE"))
    rendezvous = environ["TORCHELASTIC_RUN_ID"]
    job = _slurm_job(environ)
    if job is not None:
        job = f"{job} torchelastic {rendezvous}"
    elif one_node:
        job = _of_process(process("TORCHELASTIC_RUN_ID"))
    elif rendezvous not in ("", "none"):
        job = f"torchelastic {rendezvous}"
    launcher = "accelerate" if any(name.startswith("ACCELERATE_") for name in environ) else "torchrun"
    restart = (_number(environ, "TORCHELASTIC_RESTART_COUNT") or 0) + (_number(environ, "SLURM_RESTART_COUNT") or 0)
    return Place(launcher, rank, world, _number(environ, "LOCAL_RANK"), _number(environ, "GROUP_RANK"), restart, job)


def _open_mpi(environ: Mapping[str, str], process: Callable[[str], Launcher | None]) -> Place | None:
    rank, world = _number(environ, "OMPI_COMM_WORLD_RANK"), _number(environ, "OMPI_COMM_WORLD_SIZE")
    if rank is None or world is None:
        return None
    namespace = environ.get("PMIX_NAMESPACE") or environ.get("OMPI_MCA_ess_base_jobid")
    job = _slurm_job(environ)
    if job is None and _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE") == world:
        job = _of_process(process("OMPI_COMM_WORLD_RANK"))
    elif job is None and namespace:
        job = f"openmpi {namespace} {environ.get('OMPI_MCA_orte_hnp_uri', '')}"
    local = _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK")
    restart = _number(environ, "SLURM_RESTART_COUNT") or 0
    return Place("openmpi", rank, world, local, None, restart, job)


def _torch_env(environ: Mapping[str, str], process: Callable[[str], Launcher | None]) -> Place | None:
    """RANK and WORLD_SIZE by DeepSpeed's launcher, a Kubernetes operator, or a script of one's own."""
    rank, world = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    if rank is None or world is None:
        return None
    deepspeed = "CROSS_RANK" in environ and "CROSS_SIZE" in environ
    one_node = environ.get("CROSS_SIZE") == "1" or _number(environ, "LOCAL_WORLD_SIZE") == world
    job = _slurm_job(environ)
    if job is None and one_node:
        job = _of_process(process("RANK"))
    if job is None and environ.get("TELEMETRYD_LAUNCH"):
        job = f"launch {environ['TELEMETRYD_LAUNCH']}"
    node = _number(environ, "CROSS_RANK") if deepspeed else _number(environ, "GROUP_RANK", "NODE_RANK")
    local = _number(environ, "LOCAL_RANK")
    restart = _number(environ, "SLURM_RESTART_COUNT") or 0
    return Place("deepspeed" if deepspeed else "env", rank, world, local, node, restart, job)


def _slurm(environ: Mapping[str, str], process: Callable[[str], Launcher | None]) -> Place | None:
    """srun's tasks. A batch script or a shell in an allocation has a task number, too, but no step of several tasks."""
    rank = _number(environ, "SLURM_PROCID")
    world = _number(environ, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    if rank is None or world is None or world < 2 or _slurm_job(environ) is None:
        return None
    local, node = _number(environ, "SLURM_LOCALID"), _number(environ, "SLURM_NODEID")
    return Place("slurm", rank, world, local, node, _number(environ, "SLURM_RESTART_COUNT") or 0, _slurm_job(environ))


def _lightning(environ: Mapping[str, str], process: Callable[[str], Launcher | None]) -> Place | None:
    """Lightning's main process starts the script again for each further rank, and numbers them in the environment."""
    local, world = _number(environ, "LOCAL_RANK"), _number(environ, "WORLD_SIZE")
    if local is None or world is None or "MASTER_ADDR" not in environ or _number(environ, "NODE_RANK") not in (None, 0):
        return None
    started = process("LOCAL_RANK")
    pid, _, runs = environ.get(PARENT_RUNS, "").partition(":")
    parent_runs = tuple(runs.split(",")) if started is not None and pid == str(started.pid) and runs else ()
    return Place("lightning", local, world, local, 0, 0, _of_process(started), parent_runs)


def _slurm_job(environ: Mapping[str, str]) -> str | None:
    """Slurm's job and step: what one srun started, and what it starts again when the job is requeued."""
    job, step = environ.get("SLURM_JOB_ID"), environ.get("SLURM_STEP_ID") or environ.get("SLURM_STEPID")
    if not job or not step:
        return None
    return f"slurm {environ.get('SLURM_CLUSTER_NAME', '')} {job}.{step}"


def _of_process(launcher: Launcher | None) -> str | None:
    return f"process {launcher.identity}" if launcher is not None else None


def _number(environ: Mapping[str, str], *names: str) -> int | None:
    for name in names:
        text = environ.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}", text):
            return int(text)
    return None


def launcher_process(variable: str) -> Launcher | None:
    """The nearest process, this one or above it, that was started without `variable` in its environment.

    A rank may be a grandchild of its launcher: a shell between them was given the variable, too. None where /proc does
    not tell.
    """
    pid = os.getpid()
    for _ in range(_LAUNCHER_DEPTH_MAX):
        try:
            given = Path(f"/proc/{pid}/environ").read_bytes()
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        if not any(entry.startswith(f"{variable}=".encode()) for entry in given.split(b"\0")):
            return Launcher(pid, f"{_boot_id()} {os.uname().nodename} {pid} {fields[19].decode()}")
        pid = int(fields[1])
        if pid == 0:
            return None
    return None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
