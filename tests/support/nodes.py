"""Machines in tests: network namespaces with real addresses, a hub where the daemon runs and nodes that train.

    node 1 (10.77.1.2) ──veth── 10.77.1.1 ┐
    node 2 (10.77.2.2) ──veth── 10.77.2.1 ├ hub
                                          ┘

A line is a veth pair, or a bad_line.BadLine. Each machine has a host name of its own (a UTS namespace), so nobody takes
another's process for one of its own.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.bad_line import BadLine, tun
from tests.support.processes import Spawned, spawn
from tests.support.requirements import require

PORT = 7077


def require_namespaces() -> None:
    """Skips the calling test where namespaces cannot be made."""
    require(shutil.which("ip") and shutil.which("unshare") and os.geteuid() == 0, "root, iproute2 and util-linux")
    name = f"td{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    require(made.returncode == 0, f"network namespaces: {made.stderr.decode()}")
    ip("netns", "del", name)


def ip(*arguments: str) -> None:
    """Run `ip`. Raises CalledProcessError."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Machine:
    """One namespace; `address` is the hub's towards it."""

    def __init__(self, name: str, folder: Path, address: str) -> None:
        self.name = name
        self.folder = folder
        self.address = address
        self.link = ""
        self.spawned: list[Spawned] = []
        folder.mkdir()

    def command(self, command: Sequence[str | Path]) -> list[str | Path]:
        """A command line that runs a command on this machine."""
        script = f'hostname {self.name} && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", script, "sh", *command]

    def start(self, command: Sequence[str | Path], env: Mapping[str, str]) -> Spawned:
        """Start a command here."""
        started = spawn(self.command(command), self.folder, env=env)
        self.spawned.append(started)
        return started

    def run(self, command: Sequence[str | Path], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end."""
        given = [str(part) for part in self.command(command)]
        return subprocess.run(given, env=os.environ | env, capture_output=True, text=True, timeout=100, check=False)

    def cut_off(self) -> None:
        """Pull the plug of the network."""
        ip("-n", self.name, "link", "set", self.link, "down")

    def reconnect(self) -> None:
        """Put it back."""
        ip("-n", self.name, "link", "set", self.link, "up")

    def power_cut(self) -> None:
        """Kill everything here; the network goes first, so that nobody hears a word."""
        self.cut_off()
        for started in self.spawned:
            started.kill()


class Nodes:
    """A hub and so many nodes; `close` removes them with all that runs in them."""

    def __init__(self, folder: Path, count: int, *, delay_s: float = 0.0, loss: float = 0.0) -> None:
        """With `delay_s` or `loss` every node's line delays packets by so long and loses so large a share of them."""
        mark = secrets.token_hex(2)
        self._quality = (delay_s, loss)
        self.lines: list[BadLine] = []
        self.hub = Machine(f"td{mark}h", folder / "hub", "127.0.0.1")
        self.nodes: list[Machine] = []
        self._names = [self.hub.name]
        ip("netns", "add", self.hub.name)
        try:
            ip("-n", self.hub.name, "link", "set", "lo", "up")
            for number in range(1, count + 1):
                self._add(f"td{mark}n{number}", folder / f"node{number}", number, mark)
        except BaseException:
            self.close()
            raise

    def _add(self, name: str, folder: Path, number: int, mark: str) -> None:
        ip("netns", "add", name)
        self._names.append(name)
        node = Machine(name, folder, f"10.77.{number}.1")
        node.link, far = f"tn{mark}{number}", f"th{mark}{number}"
        if any(self._quality):
            self._lay_bad_line(node, far)
        else:
            ip("link", "add", node.link, "netns", name, "type", "veth", "peer", "name", far, "netns", self.hub.name)
        for space, link, address in (
            (name, node.link, f"10.77.{number}.2/24"),
            (self.hub.name, far, f"{node.address}/24"),
        ):
            ip("-n", space, "address", "add", address, "dev", link)
            ip("-n", space, "link", "set", link, "up")
        self.nodes.append(node)

    def _lay_bad_line(self, node: Machine, far: str) -> None:
        require(Path("/dev/net/tun").exists(), "the kernel's TUN devices")
        ends = []
        for name, space in ((node.link, node.name), (far, self.hub.name)):
            ends.append(tun(name))
            ip("link", "set", name, "netns", space)
        self.lines.append(BadLine(ends[0], ends[1], *self._quality))

    def close(self) -> None:
        """Kill and remove everything."""
        for machine in (self.hub, *self.nodes):
            for started in machine.spawned:
                started.kill()
        for line in self.lines:
            line.close()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
