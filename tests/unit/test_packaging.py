"""What a user installs: small, typed, complete, and importable with the base dependencies alone."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.toml import load_toml

ROOT = Path(__file__).parents[2]
PROJECT = load_toml(ROOT / "pyproject.toml")["project"]

ONE_DOOR = {
    "zmq": {"client/connection.py", "telemetryd/reception/socket.py"},
    "pynvml": {"telemetryd/sampling/nvml.py"},
    "psutil": {"telemetryd/sampling/host.py"},
    "prometheus_client": {"telemetryd/web/exposition.py"},
    "wandb": {
        "telemetryd/runs/wandb_sink.py",
        "telemetryd/runs/wandb_private.py",
        "telemetryd/runs/wandb_artifacts.py",
        "telemetryd/runs/download_cache.py",
        "telemetryd/runs/api_main.py",
        "telemetryd/runs/wandb_file.py",  # the message types of the file alone
        "telemetryd/runs/media/door.py",  # the media classes alone
        "telemetryd/runs/wandb_tables.py",  # what tables keep private
    },
}
"""Foreign libraries and the files that may import them: how such a library behaves is dealt with there alone."""

BLOCK_ALL_BUT_THE_BASE = """
import json, sys

BASE = {"client", "telemetryd", "zmq", "msgspec"}
asked = set()

class OnlyTheBase:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in BASE or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        asked.add(top)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyTheBase())
"""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s\[<>=~!;]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("module", ["client", "telemetryd", "telemetryd.cli.main"])
def test_imports_with_the_base_dependencies_alone(module: str) -> None:
    ran = run_python(f"{BLOCK_ALL_BUT_THE_BASE}\nimport {module}\nprint(json.dumps(sorted(asked)))")
    assert ran.returncode == 0, ran.stderr
    assert not {"torch", "wandb", "numpy"} & set(json.loads(ran.stdout))


def test_importing_the_client_imports_no_heavy_library() -> None:
    ran = run_python("import client, json, sys; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))")
    assert ran.returncode == 0, ran.stderr
    heavy = {"torch", "wandb", "numpy", "PIL", "pandas", "matplotlib", "psutil", "pynvml", "rich", "telemetryd"}
    assert not heavy & set(json.loads(ran.stdout))


def test_neither_training_nor_the_daemon_loads_asyncio() -> None:
    """Nothing there runs on it, and it costs 2.5 MB and 30 ms; zmq.utils.monitor would bring it along."""
    ran = run_python("import client.sender, telemetryd.supervision.daemon, sys; print('asyncio' in sys.modules)")
    assert (ran.returncode, ran.stdout) == (0, "False\n"), ran.stderr


def test_the_base_is_pyzmq_and_msgspec() -> None:
    assert names(PROJECT["dependencies"]) == {"pyzmq", "msgspec"}


def test_the_extra_all_holds_every_other_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    listed = set(re.fullmatch(r"telemetryd\[(.*)\]", everything)[1].split(","))  # type: ignore[index]
    assert listed == set(extras) - {"all"}


def test_the_version_is_the_same_wherever_it_is_said() -> None:
    import client
    import telemetryd

    said = {client.__version__, telemetryd.__version__, importlib.metadata.version("telemetryd")}
    assert said == {PROJECT["version"]}


def test_the_changelog_begins_with_what_is_being_made_or_with_this_version() -> None:
    newest = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)[0]
    assert newest in ("Unreleased", PROJECT["version"])


def test_the_command_is_there() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "telemetryd", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, f"telemetryd {PROJECT['version']}")
    assert PROJECT["scripts"] == {"telemetryd": "telemetryd.cli.main:main"}


def test_the_wheel_holds_every_file_of_the_two_packages_and_nothing_else(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {
        str(path.relative_to(ROOT))
        for package in ("client", "telemetryd")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".c") and "__pycache__" not in path.parts
    }
    assert packed == source
    assert {"client/py.typed", "telemetryd/py.typed", "telemetryd/inbox/schema.sql"} <= packed


@pytest.mark.parametrize("library", sorted(ONE_DOOR))
def test_a_foreign_library_is_imported_behind_one_door(library: str) -> None:
    found = set()
    for package in ("client", "telemetryd"):
        for path in (ROOT / package).rglob("*.py"):
            if library in imports_of(path):
                found.add(str(path.relative_to(ROOT)))
    assert found <= ONE_DOOR[library]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
