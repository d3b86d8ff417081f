"""What the real SDK sends, the stand-in remembers; what it remembers, SDK and API read back."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.standin.client import Standin
from tests.standin.fixture import running
from tests.standin.fixture import standin as standin
from tests.standin.sdk import Outcome, Sdk

ROWS = 1000
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

LOGGING = f"""
    import base64, sys, wandb
    run = wandb.init(project="digits", id="first", name="the first", config={{"lr": 0.1, "net": {{"layers": [1, 2]}}}},
                     tags=["a", "b"], notes="a note", group="g", job_type="train",
                     settings=wandb.Settings(console="wrap"))
    for i in range({ROWS}):
        run.log({{"loss": 1 / (i + 1), "i": i}})
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    run.config["late"] = True
    run.summary["best"] = 7
    open("dot.png", "wb").write(base64.b64decode("{base64.b64encode(PNG).decode()}"))
    run.save("dot.png", policy="now")
    run.log({{"table": wandb.Table(columns=["a"], data=[[1]])}})
    artifact = wandb.Artifact("data", "dataset", metadata={{"k": 1}})
    with artifact.new_file("x.bin", "wb") as file:
        file.write(bytes(range(256)) * 1000)
    run.log_artifact(artifact, aliases=["best"]).wait(timeout=20)
    run.alert("a title", "a text", level="WARN", wait_duration=300)
    run.finish()
"""

READING = """
    import json, os, wandb
    api = wandb.Api()
    run = api.run("standin/digits/first")
    artifact = api.artifact("standin/digits/data:best")
    folder = artifact.download(root="down")
    said = {
        "state": run.state, "config": run.config, "best": run.summary["best"], "tags": run.tags, "name": run.name,
        "scanned": [row["i"] for row in run.scan_history() if row.get("i") is not None],
        "scanned_keys": [row["loss"] for row in run.scan_history(keys=["loss"])],
        "history": len(run.history(samples=10_000, pandas=False)),
        "system": len(run.history(stream="system", pandas=False)),
        "files": sorted(file.name for file in run.files()), "runs": [r.id for r in api.runs("standin/digits")],
        "last_step": run.lastHistoryStep, "program": bool(run.metadata["program"]),
        "console": [line.content for line in run.console_logs()],
        "logged": [a.name for a in run.logged_artifacts()], "version": artifact.version, "size": artifact.size,
        "metadata": artifact.metadata, "aliases": sorted(artifact.aliases), "type": artifact.type,
        "by": artifact.logged_by().id, "down": open(os.path.join(folder, "x.bin"), "rb").read().hex()[:12],
        "there": [api.artifact_exists("standin/digits/data:v0"), api.artifact_exists("standin/digits/data:v9")],
        "viewer": api.viewer.username, "projects": [p.name for p in api.projects("standin")],
    }
    artifact.verify(folder)
    artifact.aliases.append("prod")
    artifact.save()
    artifact.link("standin/digits/shelf", aliases=["linked"])
    said["prod"] = api.artifact("standin/digits/data:prod").version
    said["linked"] = api.artifact("standin/digits/shelf:linked").name
    print(json.dumps(said))
"""


@dataclass
class Logged:
    """A run that was logged once for all tests of this module, and what the API read of it."""

    server: Standin
    sdk: Sdk
    outcome: Outcome
    read: Outcome

    @property
    def said(self) -> dict[str, Any]:
        assert self.read.code == 0, self.read.stderr
        return dict(json.loads(self.read.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def logged() -> Iterator[Logged]:
    folder = Path(tempfile.mkdtemp(prefix="standin-", dir="/tmp"))
    try:
        with running() as server:
            sdk = Sdk(server, folder / "sdk")
            yield Logged(server, sdk, sdk.run(LOGGING), sdk.run(READING))
            assert server.unknown_operations() == {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_every_row_logged_is_there_once_and_in_order(logged: Logged) -> None:
    assert logged.outcome.code == 0, logged.outcome.stderr
    rows = [row for row in logged.server.rows("first") if "i" in row]
    assert [(row["_step"], row["i"], row["loss"]) for row in rows] == [(i, i, 1 / (i + 1)) for i in range(ROWS)]


def test_config_summary_tags_notes_group_and_name_are_the_run_s(logged: Logged) -> None:
    assert logged.server.config("first") == {"lr": 0.1, "net": {"layers": [1, 2]}, "late": True}
    summary = logged.server.summary("first")
    assert (summary["best"], summary["i"], summary["table"]["nrows"]) == (7, ROWS - 1, 1)
    run = logged.server.run("standin/digits/first")
    names = ("displayName", "tags", "notes", "group", "jobType", "state", "exit_code")
    assert [run[name] for name in names] == ["the first", ["a", "b"], "a note", "g", "train", "finished", 0]


def test_console_output_is_kept_line_by_line(logged: Logged) -> None:
    lines = logged.server.outputs("first")
    assert [line for line in lines if line.startswith("said")] == ["said on stdout", "said on stderr"]
    assert b"said on stdout" in logged.server.read_file("first", "output.log")


def test_files_are_kept_with_their_bytes(logged: Logged) -> None:
    assert logged.server.read_file("first", "dot.png") == PNG
    files = logged.server.files("first")
    assert files["dot.png"]["md5"] == base64.b64encode(hashlib.md5(PNG).digest()).decode()
    assert {"config.yaml", "wandb-metadata.json", "wandb-summary.json", "output.log"} <= set(files)
    assert any(name.startswith("media/table/table_") for name in files)
    assert logged.server.metadata("first")["python"]


def test_system_metrics_are_kept(logged: Logged) -> None:
    assert all("_timestamp" in event for event in logged.server.events("first"))
    assert "system.memory_percent" in logged.server.events("first")[0]


def test_an_alert_is_kept_with_its_level(logged: Logged) -> None:
    (alert,) = logged.server.alerts("first")
    assert (alert["title"], alert["text"], alert["severity"], alert["waitDuration"]) == (
        "a title",
        "a text",
        "WARN",
        300_000,
    )


def test_an_artifact_is_committed_once_with_version_aliases_and_manifest(logged: Logged) -> None:
    (artifact,) = [a for a in logged.server.artifacts() if a["name"] == "data"]
    assert (artifact["state"], artifact["version"], artifact["type"]) == ("COMMITTED", 0, "dataset")
    assert {"best", "latest"} <= set(artifact["aliases"])
    digest = base64.b64encode(hashlib.md5(bytes(range(256)) * 1000).digest()).decode()
    assert artifact["contents"]["x.bin"]["digest"] == digest


def test_the_api_reads_the_run_back(logged: Logged) -> None:
    said = logged.said
    assert (said["state"], said["name"], said["tags"], said["best"]) == ("finished", "the first", ["a", "b"], 7)
    assert said["config"] == {"lr": 0.1, "net": {"layers": [1, 2]}, "late": True}
    assert said["scanned"] == list(range(ROWS))
    assert said["scanned_keys"] == [1 / (i + 1) for i in range(ROWS)]
    assert (said["history"], said["last_step"]) == (ROWS + 1, ROWS)
    assert said["system"] >= 1
    assert "dot.png" in said["files"]
    assert (said["runs"], said["projects"], said["viewer"]) == (["first"], ["digits"], "standin")
    assert "said on stdout" in said["console"]
    assert said["program"]


def test_the_api_downloads_and_verifies_an_artifact_and_follows_aliases_and_links(logged: Logged) -> None:
    said = logged.said
    assert (said["version"], said["type"], said["metadata"], said["by"]) == ("v0", "dataset", {"k": 1}, "first")
    assert (said["size"], said["down"], said["aliases"]) == (256_000, "000102030405", ["best", "latest"])
    assert said["there"] == [True, False]
    assert (said["prod"], said["linked"]) == ("v0", "shelf:linked")
    assert "data:v0" in said["logged"]


#: How a script ends → its own exit code, and what the server is told. A raised SystemExit passes wandb by.
ENDINGS = {
    "pass": (0, 0, "finished"),
    "raise RuntimeError('bad')": (1, 1, "failed"),
    "sys.exit(3)": (3, 3, "failed"),
    "raise SystemExit(3)": (3, 0, "finished"),
}


def test_the_exit_code_is_what_the_sdk_says_of_the_script(standin: Standin, tmp_path: Path) -> None:
    sdk = Sdk(standin, tmp_path)
    scripts = [
        sdk.start(f"import sys, wandb\nwandb.init(id='r{n}').log({{'a': 1}})\n{ending}")
        for n, ending in enumerate(ENDINGS)
    ]
    codes = [script.end(20).code for script in scripts]
    told = [(code, standin.exit_code(f"r{n}"), standin.state(f"r{n}")) for n, code in enumerate(codes)]
    assert told == list(ENDINGS.values())
    assert [len(standin.rows(f"r{n}")) for n in range(len(ENDINGS))] == [1, 1, 1, 1]


def test_a_resumed_run_goes_on_behind_its_rows_and_lines(standin: Standin, tmp_path: Path) -> None:
    sdk = Sdk(standin, tmp_path)
    script = """
        import wandb
        run = wandb.init(project="p", id="r", resume="allow", config={"a": 1}, settings=wandb.Settings(console="wrap"))
        print("began at", run.starting_step, run.resumed, run.summary.get("best"))
        for _ in range(10):
            run.log({"x": 1})
        run.summary["best"] = 5
        run.finish()
    """
    first, second = sdk.run(script), sdk.run(script)
    assert first.stdout.splitlines()[0] == "began at 0 False None"
    assert second.stdout.splitlines()[0] == "began at 10 True 5"
    assert [row["_step"] for row in standin.rows("r")] == list(range(20))
    assert [line for line in standin.outputs("r") if line.startswith("began")] == [
        "began at 0 False None",
        "began at 10 True 5",
    ]
    assert standin.run("r")["resumes"] == 1


def test_resume_must_and_never_are_decided_by_what_the_server_has(standin: Standin, tmp_path: Path) -> None:
    sdk = Sdk(standin, tmp_path)
    assert sdk.run("import wandb; wandb.init(project='p', id='there').log({'a': 1})").code == 0
    wanted = {("absent", "must"): 1, ("there", "never"): 1, ("there", "must"): 0}
    scripts = [sdk.start(f"import wandb; wandb.init(project='p', id='{run}', resume='{how}')") for run, how in wanted]
    assert [script.end(20).code for script in scripts] == list(wanted.values())


def test_an_offline_run_arrives_whole_by_wandb_sync_and_a_second_sync_appends_it_again(
    standin: Standin, tmp_path: Path
) -> None:
    sdk = Sdk(standin, tmp_path)
    script = "import wandb\nr = wandb.init(project='p', id='r')\nfor i in range(50): r.log({'i': i})"
    assert sdk.run(script, WANDB_MODE="offline").code == 0
    (folder,) = (sdk.folder / "wandb_dir" / "wandb").glob("offline-run-*")
    assert sdk.command("sync", "--yes", str(folder)).code == 0
    assert [row["i"] for row in standin.rows("r")] == list(range(50))
    assert (standin.state("r"), standin.exit_code("r")) == ("finished", 0)
    next(folder.glob("*.synced")).unlink()
    assert sdk.command("sync", "--yes", str(folder)).code == 0
    assert [row["i"] for row in standin.rows("r")] == [*range(50), *range(50)]


def test_the_stop_button_reaches_the_script(standin: Standin, tmp_path: Path) -> None:
    script = Sdk(standin, tmp_path).start(
        """
        import threading, wandb
        from wandb.sdk.lib import run_stopping
        run_stopping.RunStopChecker.__init__.__kwdefaults__["poll_interval"] = 0.1
        stopped = threading.Event()
        run = wandb.init(project="p", id="r", settings=wandb.Settings(stop_fn=stopped.set))
        run.log({"a": 1})
        print("stopped" if stopped.wait(20) else "not stopped", flush=True)
        run.finish()
        """
    )
    standin.wait_for(lambda s: s.rows("r"), 10, "the first row")
    standin.request_stop("r")
    assert script.end(20).stdout == "stopped\n"


def test_a_run_that_falls_silent_reads_as_crashed(standin: Standin, tmp_path: Path) -> None:
    script = Sdk(standin, tmp_path).start(
        "import wandb, time; wandb.init(project='p', id='r').log({'a': 1}); time.sleep(60)"
    )
    standin.wait_for(lambda s: s.rows("r"), 10, "the first row")
    script.kill()
    script.end(5)
    assert standin.state("r") == "running"
    standin.crashed_after(0)
    assert standin.state("r") == "crashed"
