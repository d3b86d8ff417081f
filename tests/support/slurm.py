"""A Slurm cluster on this machine: Debian's munged and slurmctld, and a slurmd for each of two nodes.

Needs root. Nothing outside the folder is touched; the processes run in the foreground, so that a test sees them end.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import Spawned, spawn, wait_until
from tests.support.requirements import require

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPort={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
KillWait=10
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
{more}
NodeName={host},localhost NodeAddr=127.0.0.1 NodeHostname={host} Port=[{ports[1]}-{ports[2]}] CPUs=2 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES State=UP OverSubscribe=FORCE:4
"""


def require_slurm() -> None:
    """Skips the calling test where Slurm cannot be run."""
    require(
        all(map(shutil.which, PROGRAMS)) and os.geteuid() == 0, "root, and Debian's slurmctld, slurmd, slurm-client"
    )


def _free_ports() -> list[int]:
    """A free port, and two free ones in a row."""
    for first in range(21000, 30000, 3):
        ports = [first, first + 1, first + 2]
        if all(_is_free(port) for port in ports):
            return ports
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Cluster:
    """Running until `close`. `more`: further lines of slurm.conf; `env`: of every daemon, and so of every job."""

    def __init__(self, folder: Path, more: str = "", env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        host = socket.gethostname()
        folder.mkdir(mode=0o755)
        (folder / "state").mkdir()
        conf = folder / "slurm.conf"
        conf.write_text(CONF.format(host=host, folder=folder, ports=_free_ports(), more=more))
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.env = {**(env or {}), "SLURM_CONF": str(conf)}
        self._spawned: list[Spawned] = []
        options = ["--foreground", "--force", f"--socket={folder}/munge.sock", f"--key-file={key}"]
        options += [f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed"]
        self._start("munged", *options, f"--log-file={folder}/munged.log")
        wait_until((folder / "munge.sock").exists, 20, self.told)
        self._start("slurmctld", "-D", "-i")
        for node in (host, "localhost"):
            self._start("slurmd", "-D", "-N", node)
        wait_until(lambda: self.ask("sinfo", "-h", "-o", "%T").split() == ["idle"], 60, self.told, poll_s=0.3)

    def _start(self, *command: str) -> None:
        self._spawned.append(spawn(command, self.folder, env=self.env))

    def ask(self, *command: str | Path, cwd: Path | None = None) -> str:
        """What a command of Slurm's prints."""
        given = [str(part) for part in command]
        ran = subprocess.run(given, env=os.environ | self.env, cwd=cwd, capture_output=True, text=True, timeout=60,
                             check=False)  # fmt: skip
        return ran.stdout.strip()

    def submit(self, cwd: Path, *arguments: str | Path) -> str:
        """`sbatch`; the job's id."""
        job = self.ask("sbatch", "--parsable", "--time=10", "--output=job.out", *arguments, cwd=cwd)
        assert job.isdigit(), self.told()
        return job

    def job(self, job: str) -> dict[str, str]:
        """What the controller knows of a job."""
        said = self.ask("scontrol", "show", "job", job, "--oneliner")
        return dict(word.split("=", 1) for word in said.split() if "=" in word)

    def wait_state(self, job: str, state: str, deadline_s: float = 200.0) -> dict[str, str]:
        """The job, once it is in that state."""
        wait_until(lambda: self.job(job).get("JobState") == state, deadline_s,
                   lambda: f"{self.job(job)}\n{self.told()}", poll_s=0.3)  # fmt: skip
        return self.job(job)

    def told(self) -> str:
        """Everything that the daemons have said."""
        return "\n".join(spawned.told()[-3000:] for spawned in self._spawned)

    def close(self) -> None:
        """End everything."""
        self.ask("scancel", "--state=PENDING,RUNNING,SUSPENDED", "--user=root")
        for spawned in reversed(self._spawned):
            spawned.kill()
