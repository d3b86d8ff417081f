"""What `import client` loads, so that a start stays as cheap as docs/performance.md says: counted, not timed."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from types import ModuleType

import pytest

import client
from client import artifacts, tables

EVERY_START = """
_fastlog _scalars alerts amounts api artifacts artifacts.run_calls callbacks code_files config console
console.capture console.scribe console.throttle console.wrap delivery digests errors exit_hooks facts
facts.gathering fastlog guard helper history job journal journal.blobs journal.file_system journal.folder
journal.format journal.links journal.segment journal.supply journal.writer keys lazy ledger limits media
media.arrays media.bare media.base media.figures metrics names payload places policy preinit process_info
process_wide protocol protocol.artifacts protocol.errors protocol.frames protocol.framing protocol.limits
protocol.messages protocol.rank_policy protocol.records protocol.version ranks report rich row_body run
run_actions run_files run_identity sender session setting_names settings shipping steps stream summary
summary_mirror sweeps sweeps.stop tensors term tokens util values version
"""
"""Our modules that every training needs, whatever it logs. One more costs every start: a module that only some need
goes into the lazy table of its package, or is imported by the function that needs it."""

SPARED = ("zmq", "socket", "subprocess", "tempfile", "shutil", "json", "hashlib", "ssl", "asyncio", "email", "http")
"""Libraries that a start can do without, and that would be noticed in its time or memory."""

LAZY = [(package, name) for package in (client, artifacts, tables) for name in sorted(package._LAZY)]


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\nbefore = set(sys.modules)\n{statement}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def ours(loaded: set[str]) -> set[str]:
    return {name.removeprefix("client.") for name in loaded if name.startswith("client.")}


def test_import_loads_nothing_that_only_some_trainings_need() -> None:
    loaded = loaded_by("import client")
    assert ours(loaded) <= set(EVERY_START.split())
    assert loaded.isdisjoint(SPARED)


def test_a_name_is_loaded_when_it_is_used_and_nothing_beside_it() -> None:
    assert ours(loaded_by("import client\nclient.Histogram")) - set(EVERY_START.split()) == {"media.histogram"}


@pytest.mark.parametrize(("package", "name"), LAZY, ids=lambda value: getattr(value, "__name__", value))
def test_a_lazy_name_is_there_under_its_own_name(package: ModuleType, name: str) -> None:
    value = getattr(package, name)
    assert value is getattr(package, name)
    assert value.__name__.rpartition(".")[2] == name
    assert name in dir(package)
    assert isinstance(value, ModuleType) or pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize("package", [client, artifacts, tables])
def test_every_public_name_is_listed_before_it_is_used_and_can_be_imported(package: ModuleType) -> None:
    name = package.__name__
    listed = loaded_by(f"import {name} as it\nprint(*dir(it))\nbefore = set(sys.modules)")
    assert set(package.__all__) <= listed
    namespace: dict[str, object] = {}
    exec(f"from {name} import *", namespace)
    assert set(package._LAZY) <= set(package.__all__) <= set(namespace)


def test_type_checkers_are_told_of_the_names_in_the_lazy_table() -> None:
    for package in (client, artifacts, tables):
        (block,) = (
            node
            for node in ast.parse(inspect.getsource(package)).body
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        )
        names = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert names == set(package._LAZY)
