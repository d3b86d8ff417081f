"""The command line as it is where only the base of the distribution is installed."""

from __future__ import annotations

import subprocess
import sys

BASE_ONLY = """
import importlib.abc, sys
ALLOWED = {"telemetryd", "client", "zmq", "msgspec"} | set(sys.stdlib_module_names) | set(sys.builtin_module_names)
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED and name.partition(".")[0] in DISTRIBUTIONS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
import importlib.metadata
DISTRIBUTIONS = set(importlib.metadata.packages_distributions())
sys.meta_path.insert(0, Block())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return found(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
from telemetryd.cli.main import main
sys.argv[0] = "telemetryd"
sys.exit(main())
"""
"""Runs the command line where only the standard library, pyzmq and msgspec can be imported."""


def with_the_base_alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BASE_ONLY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)
