"""Every fault the stand-in can be told: what the real SDK does then, within a time, and what arrives."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.standin.client import Standin
from tests.standin.fixture import StandinProcess, running
from tests.standin.fixture import standin as standin
from tests.standin.fixture import standin_process as standin_process
from tests.standin.sdk import Outcome, Sdk

ROWS = 20
LOGGING = f"""
    import wandb
    run = wandb.init(project="p", id="r", settings=wandb.Settings(console="off", x_disable_stats=True, init_timeout=15))
    for i in range({ROWS}):
        run.log({{"i": i}})
    run.finish()
"""
#: A run per name, all at once in one process: each has a fault of its own, and none waits for another's.
MANY = f"""
    import sys, threading, wandb
    wandb.setup()
    def log(name):
        settings = wandb.Settings(console="off", x_disable_stats=True, init_timeout=20)
        run = wandb.init(project="p", id=name, reinit="create_new", settings=settings)
        for i in range({ROWS}):
            run.log({{"i": i}})
        run.finish()
    threads = [threading.Thread(target=log, args=(name,)) for name in sys.stdin.readline().split()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
#: Waits for a line on stdin between its rows, so that a test can change the server in between.
IN_TWO_HALVES = """
    import wandb
    run = wandb.init(project="p", id="r", settings=wandb.Settings(console="off", x_disable_stats=True))
    run.log({"i": 0})
    print("half", flush=True)
    input()
    run.log({"i": 1})
    run.finish()
"""


Order = Callable[..., int]

RETRIED: dict[str, Order] = {
    "status_500_twice": lambda s, **o: s.fail("file_stream", status=500, times=2, **o),
    "status_429_twice": lambda s, **o: s.fail("file_stream", status=429, times=2, retry_after_s=1, **o),
    "dropped_before_twice": lambda s, **o: s.drop_before("file_stream", times=2, **o),
    "dropped_after_twice": lambda s, **o: s.drop_after("file_stream", times=2, **o),
    "last_answer_lost": lambda s, **o: s.drop_after("file_stream", skip=1, times=1, **o),
    "hangs": lambda s, **o: s.hang("file_stream", seconds=1, times=1, **o),
    "hangs_after_applying": lambda s, **o: s.hang("file_stream", seconds=1, times=1, after=True, **o),
    "slow": lambda s, **o: s.slow("file_stream", 0.5, times=2, **o),
    "graphql_500": lambda s, **o: s.fail("graphql:UpsertBucket", status=500, times=1, **o),
    "graphql_answer_lost": lambda s, **o: s.drop_after("graphql:UpsertBucket", times=1, **o),
    "upload_500_twice": lambda s, **o: s.fail("upload:run", status=500, times=2, **o),
    "upload_answer_lost": lambda s, **o: s.drop_after("upload:run", times=2, **o),
}
FINAL = (400, 401, 403, 404, 409, 410, 413, 422, 501)


@dataclass
class Faulted:
    """Runs that were logged with a fault each, once for all tests of this module."""

    server: Standin
    outcome: Outcome
    faults: dict[str, int]


@pytest.fixture(scope="module")
def faulted() -> Iterator[Faulted]:
    folder = Path(tempfile.mkdtemp(prefix="standin-", dir="/tmp"))
    try:
        with running() as server:
            faults = {name: order(server, run=name) for name, order in RETRIED.items()}
            for status in FINAL:
                faults[f"refused_{status}"] = server.fail(
                    "file_stream", status=status, times=1, run=f"refused_{status}"
                )
            script = Sdk(server, folder).start(MANY, WANDB_SILENT="false")
            script.say(" ".join(faults))
            yield Faulted(server, script.end(60), faults)
            assert server.unknown_operations() == {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def values(standin: Standin, run: str = "r") -> list[int]:
    return [row["i"] for row in standin.rows(run)]


@pytest.mark.parametrize("name", RETRIED)
def test_what_the_sdk_retries_arrives_once(faulted: Faulted, name: str) -> None:
    assert faulted.outcome.code == 0, faulted.outcome.stderr
    assert values(faulted.server, name) == list(range(ROWS))
    assert (faulted.server.state(name), len(faulted.server.files(name))) == ("finished", 4)
    assert faulted.server.hits(faulted.faults[name]) >= 1


@pytest.mark.parametrize("status", FINAL)
def test_one_refusal_of_file_stream_is_final_and_nothing_is_raised(faulted: Faulted, status: int) -> None:
    name = f"refused_{status}"
    assert faulted.outcome.code == 0, faulted.outcome.stderr
    assert (faulted.server.rows(name), faulted.server.state(name)) == ([], "running")
    assert len(faulted.server.requests("file_stream", run=name)) == 1, "it tried again"
    assert faulted.outcome.stderr.count("Fatal error while uploading data") >= len(FINAL), "the one warning there is"


def test_a_refusal_is_seen_in_the_stop_status_where_stop_on_fatal_error_is_set(
    standin: Standin, tmp_path: Path
) -> None:
    standin.fail("file_stream", status=401)
    outcome = Sdk(standin, tmp_path).run(
        """
        import threading, wandb
        from wandb.sdk.lib import run_stopping
        run_stopping.RunStopChecker.__init__.__kwdefaults__["poll_interval"] = 0.1
        stopped = threading.Event()
        run = wandb.init(project="p", id="r", settings=wandb.Settings(stop_fn=stopped.set, stop_on_fatal_error=True))
        run.log({"a": 1})
        print(stopped.wait(10))
        run.finish()
        """
    )
    assert outcome.stdout == "True\n"


def test_a_200_with_garbage_counts_as_delivered_for_the_sdk_and_its_rows_are_gone(
    standin: Standin, tmp_path: Path
) -> None:
    fault = standin.garbage("file_stream")
    outcome = Sdk(standin, tmp_path).run(LOGGING, timeout_s=15)
    assert outcome.code == 0
    assert (standin.rows("r"), standin.state("r")) == ([], "running")
    assert standin.hits(fault) >= 2


@pytest.mark.parametrize(
    ("order", "said"),
    [
        pytest.param(
            lambda s: s.fail("graphql:UpsertBucket", status=401, message="no such user"), "no such user", id="401"
        ),
        pytest.param(lambda s: s.fail("graphql:UpsertBucket", status=403, message="not yours"), "not yours", id="403"),
        pytest.param(lambda s: s.fail("graphql:UpsertBucket", status=404, message="not here"), "not here", id="404"),
        pytest.param(lambda s: s.graphql_error("UpsertBucket", message="no way"), "no way", id="GraphQL error"),
        pytest.param(lambda s: s.garbage("graphql:UpsertBucket"), "invalid character", id="garbage"),
        pytest.param(lambda s: s.accept_keys(["f" * 40]), "not logged in", id="another key"),
    ],
)
def test_what_init_is_refused_it_raises_at_once(standin: Standin, tmp_path: Path, order: Order, said: str) -> None:
    order(standin)
    outcome = Sdk(standin, tmp_path).run(LOGGING, timeout_s=12)
    assert outcome.code == 1
    assert said in outcome.stderr
    assert outcome.took_s < 6
    assert standin.runs() == []


def test_init_gives_up_on_a_server_that_is_down_at_its_own_timeout(standin: Standin, tmp_path: Path) -> None:
    standin.down()
    outcome = Sdk(standin, tmp_path).run(
        "import wandb; wandb.init(settings=wandb.Settings(init_timeout=2))", timeout_s=15
    )
    assert outcome.code == 1
    assert "connection refused" in outcome.stderr
    assert 2 <= outcome.took_s < 10


def test_rows_logged_while_the_server_is_down_arrive_once_it_is_up(standin: Standin, tmp_path: Path) -> None:
    script = Sdk(standin, tmp_path).start(IN_TWO_HALVES)
    assert script.hear() == "half"
    standin.wait_for(lambda s: s.rows("r"), 10, "the first row")
    standin.down()
    script.say("on")
    with pytest.raises(AssertionError):
        standin.wait_for(lambda s: len(s.rows("r")) > 1, 2)
    standin.up()
    assert script.end(15).code == 0
    assert values(standin) == [0, 1]
    assert standin.state("r") == "finished"


def test_a_server_killed_and_restarted_on_its_state_goes_on(standin_process: StandinProcess, tmp_path: Path) -> None:
    script = Sdk(standin_process, tmp_path / "sdk").start(IN_TWO_HALVES)
    assert script.hear() == "half"
    standin_process.wait_for(lambda s: s.rows("r"), 10, "the first row")
    standin_process.kill()
    script.say("on")
    standin_process.start()
    assert script.end(15).code == 0
    assert values(standin_process) == [0, 1]
    assert (standin_process.state("r"), standin_process.unknown_operations()) == ("finished", {})


def test_rows_applied_but_never_answered_are_known_to_a_resume_after_a_kill(standin: Standin, tmp_path: Path) -> None:
    sdk = Sdk(standin, tmp_path)
    standin.hang("file_stream", skip=1, after=True)
    script = sdk.start(
        """
        import time, wandb
        run = wandb.init(project="p", id="r", settings=wandb.Settings(console="off", x_disable_stats=True))
        for i in range(10):
            run.log({"i": i})
        time.sleep(60)
        """
    )
    standin.wait_for(lambda s: len(s.rows("r")) == 10, 10, "the rows")
    script.kill()
    script.end(5)
    standin.clear()
    resuming = "r = wandb.init(project='p', id='r', resume='must'); print(r.starting_step); r.log({'i': 10})"
    outcome = sdk.run(f"import wandb; {resuming}")
    assert outcome.stdout == "10\n", outcome.stderr
    assert values(standin) == list(range(11))


def test_finish_waits_for_a_hung_server_and_its_timeout_loses_the_rows_silently(
    standin: Standin, tmp_path: Path
) -> None:
    standin.hang("file_stream")
    settings = "x_disable_stats=True, finish_timeout=2"
    outcome = Sdk(standin, tmp_path).run(
        f"import wandb; r = wandb.init(id='r', settings=wandb.Settings({settings})); r.log({{'i': 1}}); r.finish()",
        timeout_s=15,
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.took_s < 10
    assert standin.rows("r") == []


def test_a_refused_artifact_is_seen_by_wait_alone(standin: Standin, tmp_path: Path) -> None:
    standin.graphql_error("CommitArtifact", message="no room")
    outcome = Sdk(standin, tmp_path).run(
        """
        import wandb
        run = wandb.init(project="p", id="r")
        artifact = wandb.Artifact("a", "t")
        with artifact.new_file("f") as file:
            file.write("x")
        run.log_artifact(artifact)
        try:
            artifact.wait(timeout=10)
        except Exception as error:
            print(type(error).__name__, error)
        run.finish()
        """
    )
    assert outcome.code == 0, outcome.stderr
    assert "no room" in outcome.stdout
    assert [a["state"] for a in standin.artifacts()] == ["PENDING"]


def test_an_artifact_whose_answers_get_lost_is_committed_once(standin: Standin, tmp_path: Path) -> None:
    places = ("graphql:CreateArtifact", "graphql:CreateArtifactManifest", "upload:artifact", "graphql:CommitArtifact")
    faults = [standin.drop_after(place, times=1) for place in places]
    outcome = Sdk(standin, tmp_path).run(
        """
        import wandb
        run = wandb.init(project="p", id="r")
        artifact = wandb.Artifact("a", "t")
        with artifact.new_file("f") as file:
            file.write("x")
        run.log_artifact(artifact).wait(timeout=20)
        print(artifact.version)
        run.finish()
        """
    )
    assert outcome.stdout == "v0\n", outcome.stderr
    assert [standin.hits(fault) for fault in faults] == [1, 1, 1, 1]
    assert [a["version"] for a in standin.artifacts() if a["state"] == "COMMITTED"] == [0]
