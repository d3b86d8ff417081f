"""`log_code`: wandb's choice of files and its names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import client
from client import code_files
from client.protocol.records import Artifact
from client.testing import RecordedRun
from tests.support.recording_session import recording
from tests.support.requirements import require_module

TREE = (
    "train.py",
    "data.csv",
    "requirements.txt",
    "Dockerfile.gpu",
    "lib/model.py",
    "wandb/run/copy.py",
    ".wandb/x.py",
)
TREE += (".wandb/x.py", "lib/wandb/kept.py", "wandb.py")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pair(tree: Path) -> Iterator[tuple[Any, RecordedRun]]:
    with recording() as recorded:
        yield client.init(project="p"), recorded.run


def logged(run: RecordedRun) -> list[tuple[str, str]]:
    return [(record.name, record.type) for record in run.session.records if isinstance(record, Artifact)]


def test_files_are_those_that_wandb_chooses(tree: Path) -> None:
    require_module("wandb")
    from wandb import util
    from wandb.sdk.lib import filenames

    root = str(tree)
    theirs = set(filenames.filtered_dir(root, util._is_py_requirements_or_dockerfile, filenames.exclude_wandb_fn))
    assert {path for path, _ in code_files.found(root, code_files.is_code, code_files.is_wandbs)} == theirs
    assert {name for _, name in code_files.found(root, code_files.is_code, code_files.is_wandbs)} == {
        "train.py", "requirements.txt", "Dockerfile.gpu", "lib/model.py", "lib/wandb/kept.py", "wandb.py",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "source-p-a.py", "with space/and ☃", "a b", ""])
def test_names_are_made_safe_as_in_wandb(name: str) -> None:
    require_module("wandb")
    from wandb.sdk.artifacts._internal_artifact import sanitize_artifact_name

    assert code_files.artifact_name(name) == sanitize_artifact_name(name)


def test_functions_of_the_path_alone_and_with_the_root_choose(pair: tuple[Any, RecordedRun], tree: Path) -> None:
    artifact = pair[0].log_code(include_fn=lambda path: path.endswith(".csv"), exclude_fn=lambda path, root: False)
    assert sorted(artifact.manifest.entries) == ["data.csv"]
    artifact = pair[0].log_code("lib", name="mine", exclude_fn=lambda path: "wandb" in path)
    assert sorted(artifact.manifest.entries) == ["model.py"]
    assert logged(pair[1])[1] == ("mine", "code")


def test_the_artifact_is_of_type_code_and_named_by_project_and_program(pair: tuple[Any, RecordedRun]) -> None:
    pair[0].log_code()
    ((name, kind),) = logged(pair[1])
    assert kind == "code"
    assert name.startswith("source-p-")


def test_nothing_found_is_a_warning_and_none(pair: tuple[Any, RecordedRun], capsys: pytest.CaptureFixture[str]) -> None:
    assert pair[0].log_code(include_fn=lambda path: False) is None
    assert pair[0].log_code(root=None) is None
    assert "No relevant files were detected" in capsys.readouterr().err
    assert logged(pair[1]) == []


def test_after_finish_it_raises(pair: tuple[Any, RecordedRun]) -> None:
    pair[0].finish()
    with pytest.raises(client.UsageError, match="The call to `log_code`"):
        pair[0].log_code()
