"""Documents are held to the code: what they name exists, and what exists is named."""

from __future__ import annotations

import ast
import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from telemetryd.cli import main
from telemetryd.health import counters
from telemetryd.inbox import ledger
from telemetryd.settings.fields import FIELDS
from tests.docs.markdown import ROOT, Block, anchors, blocks, code, documents, links, prose
from tests.support.toml import load_toml
from tests.support.yaml_files import load_yaml

ALL_TEXT = "\n".join(path.read_text() for path in documents())
SOURCES = [path for package in ("client", "telemetryd") for path in sorted((ROOT / package).rglob("*.py"))]
DEPLOY_COMMANDS = (
    "docker", "kubectl", "systemctl", "systemd-sysusers", "sbatch", "install", "cp", "runuser",
)  # fmt: skip
"""What only runs where such a system is: its files must be there; tests/containers and tests/deploy run it."""
FOLDERS = ("client", "telemetryd", "tests", "docs", "deploy", "requirements", ".ci")

GLOSSARY = (
    "run", "step", "history", "summary", "artifact", "rank", "spool", "journal", "ack", "cursor", "session", "launch",
    "inbox", "sink", "record", "batch", "ledger", "late row", "run worker",
)  # fmt: skip
"""Words that a reader of the code meets and that must stand in CONTRIBUTING.md."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def console_lines() -> list[tuple[Block, str]]:
    """The commands that the documents show at a prompt."""
    found = []
    for block in blocks("console"):
        lines = re.findall(r"^\$ (.+?)(?:\s+#\s.*)?$", block.text, re.M)
        found += [(block, line) for line in lines]
    return found


def services_named(arguments: list[str]) -> set[str]:
    """The services of docker-compose.yml that a `docker compose` command names."""
    if arguments[:1] != ["compose"]:
        return set()
    takes_service = ("--profile", "--exit-code-from")
    named_by_option = {word for before, word in itertools.pairwise(arguments) if before in takes_service}
    last_words = set(arguments[-1:]) if {"--detach", "start", "stop", "restart"} & set(arguments) else set()
    return named_by_option | last_words


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(), re.M))


def environment_variables(text: str) -> set[str]:
    return set(re.findall(r"\bTELEMETRYD_[A-Z][A-Z_]*[A-Z]\b", text))


@pytest.mark.parametrize("path", documents(), ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in links(path):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("path", documents(), ids=named)
def test_files_named_in_backticks_exist(path: Path) -> None:
    missing = []
    for text in code(path):
        name, _, test = text.partition("::")
        if not re.fullmatch(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]+", name):
            continue
        if not (ROOT / name).exists():
            missing.append(name)
        elif test and not re.search(rf"^\s*def {re.escape(test)}\(", (ROOT / name).read_text(), re.M):
            missing.append(text)
    assert missing == []


def test_every_promise_of_the_readme_names_a_test() -> None:
    table = (ROOT / "README.md").read_text().partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "promise | shown by" not in line]
    assert len(rows) >= 6
    assert [row for row in rows if "`tests/" not in row] == []


@pytest.mark.parametrize(("block", "line"), console_lines(), ids=[f"{b}: {line}" for b, line in console_lines()])
def test_commands_shown_at_a_prompt_exist(block: Block, line: str) -> None:
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    command, arguments = words[0], words[1:]
    if command == "make":
        assert {word for word in arguments if "=" not in word} <= make_targets()
    elif command == "telemetryd":
        main.parse(arguments)
    elif command == "pip":
        assert arguments[0] == "install"
        extras = re.search(r"telemetryd(?:\[(.*)\])?$", arguments[-1])
        assert extras
        known = load_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"]
        assert set((extras[1] or "all").split(",")) <= set(known)
    elif command == "python":
        assert (ROOT / arguments[0]).exists() or arguments[0].startswith("-")
    elif command.startswith("deploy/"):
        assert os.access(ROOT / command, os.X_OK)
    elif command in DEPLOY_COMMANDS:
        named_files = [word for word in arguments if word.startswith(("deploy/", "docker-compose"))]
        assert [word for word in named_files if not (ROOT / word).exists()] == []
        if command == "docker":
            assert services_named(arguments) <= load_yaml(ROOT / "docker-compose.yml")["services"].keys()
    else:
        assert command in ("wandb", "cd", "git"), f"nothing here knows whether {command!r} works"


def test_every_make_target_is_explained_by_make_help_and_named_in_a_document() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    targets = make_targets()
    assert set(re.findall(r"^  make (\S+)", said, re.M)) == targets
    assert {target for target in targets - {"help", "clean", "venv"} if f"make {target}" not in ALL_TEXT} == set()


@pytest.mark.parametrize("block", blocks("python", "py"), ids=str)
def test_python_in_documents_compiles(block: Block) -> None:
    ast.parse(block.text, filename=str(block))


def test_every_environment_variable_is_documented_and_every_documented_one_is_read() -> None:
    read = set()
    for path in SOURCES:
        read |= environment_variables(path.read_text())
    assert environment_variables(ALL_TEXT) == read


def test_every_setting_is_documented_with_its_flag_and_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for field in FIELDS:
        assert f"`{field.name}`" in text
        assert f"`{field.env}`" in text
        assert field.flag in text
        assert field.default_text in text


def test_every_counter_is_documented_and_every_documented_one_exists() -> None:
    table = (ROOT / "docs" / "counters.md").read_text().partition("## Counters")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", table, re.M))
    assert documented == counters.KNOWN


def test_every_reason_for_a_loss_is_documented_and_every_documented_one_is_counted() -> None:
    table = (ROOT / "docs" / "counters.md").read_text().partition("## Reasons for a loss")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", table, re.M))
    journal = (ROOT / "client" / "journal" / "writer.py").read_text()
    worker = (ROOT / "telemetryd" / "runs" / "delivery.py").read_text().partition("counts = {")[2].partition("}")[0]
    given = {"finished", ledger.NEVER_ARRIVED}
    given |= set(re.findall(r'_drop\("(\w+)"', journal)) | set(re.findall(r'"(\w+)":', worker))
    assert documented == given


def test_every_command_is_documented() -> None:
    parser = main._parser()
    (commands,) = [action for action in parser._actions if action.dest == "command"]
    assert {name for name in commands.choices or () if f"`telemetryd {name}" not in ALL_TEXT} == set()


@pytest.mark.parametrize("word", GLOSSARY)
def test_the_glossary_explains(word: str) -> None:
    assert len(re.findall(rf"^- \*\*{word}\*\*: \S", (ROOT / "CONTRIBUTING.md").read_text(), re.M)) == 1


def test_the_index_lists_every_document() -> None:
    listed = {(ROOT / "docs" / target).resolve() for target in links(ROOT / "docs" / "README.md")}
    unlisted = {path for path in (ROOT / "docs").rglob("*.md") if path.resolve() not in listed}
    assert unlisted == {ROOT / "docs" / "README.md"}


def test_the_map_of_modules_names_every_package() -> None:
    text = prose(ROOT / "docs" / "architecture.md")
    packages = {named(path.parent) for path in SOURCES if path.name == "__init__.py"}
    assert {package for package in packages if f"`{package}`" not in text} == set()


def test_the_readme_and_the_page_on_performance_show_the_same_figures() -> None:
    shown = [
        (ROOT / name).read_text().partition("<!-- bench:")[2].partition("<!-- end of bench -->")[0]
        for name in ("README.md", "docs/performance.md")
    ]
    assert shown[0] == shown[1]
    assert "`client.log`" in shown[0]
    assert "`wandb.log`" in shown[0]
