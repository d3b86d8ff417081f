"""A training that logs rows while its artifact is uploaded at a limit, and what the stand-in saw of it."""

from __future__ import annotations

from tests.standin.client import Standin


def training(size_bytes: int, then: str = "") -> str:
    """The program: its argument is the id of the run and the name of the artifact. `then`: one more line in the run."""
    return f"""
import client as wandb, contextlib, os, sys
with open("m.pt", "wb") as stream:
    stream.write(os.urandom({size_bytes}))
with wandb.init(project="p", id=sys.argv[1]) as run:
    artifact = run.log_artifact("m.pt", name=sys.argv[1], type="model")
    step = 0
    while not artifact.done:
        run.log({{"i": step}})
        step += 1
        with contextlib.suppress(wandb.errors.WaitTimeoutError):
            artifact.wait(0.02)
    artifact.wait(1)
    {then}
"""


def wait_for_rows_before_the_file(standin: Standin, run_id: str) -> None:
    """Until rows came while the upload was held. Raises AssertionError when they did not come first."""
    standin.wait_for(lambda s: s.requests("graphql:CreateArtifactFiles"), 60, "the upload to begin")
    before = standin.row_count(run_id)
    standin.wait_for(lambda s: s.row_count(run_id) >= before + 10, 60, "rows")
    assert not standin.requests("upload:artifact"), "the rows of a while came before the file had"


def upload_took_s(standin: Standin) -> float:
    """From the moment that the newest artifact's upload URL was given out until its file was there."""
    (asked,) = [r["at"] for r in standin.requests("graphql:CreateArtifactFiles")][-1:]
    (there,) = [r["at"] for r in standin.requests("upload:artifact") if r["at"] > asked and "/content/" in r["path"]]
    return float(there - asked)
