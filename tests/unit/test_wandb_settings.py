"""What the run worker asks of wandb unless it is told otherwise."""

from __future__ import annotations

from client.protocol.messages import RunSpec
from telemetryd.runs import wandb_settings
from telemetryd.runs.limits import CORE_GC_PERCENT, UPLOAD_INTERVAL_S


def test_wandb_core_is_tuned_and_reports_to_nobody() -> None:
    environ: dict[str, str] = {}
    wandb_settings.tune_core(environ)
    assert environ["GOGC"] == str(CORE_GC_PERCENT)
    assert environ["GOMEMLIMIT"].endswith("MiB")
    assert environ["WANDB_ERROR_REPORTING"] == "false"


def test_what_the_daemons_environment_says_stands() -> None:
    told = {"GOGC": "50", "GOMEMLIMIT": "1GiB", "WANDB_ERROR_REPORTING": "true"}
    environ = dict(told)
    wandb_settings.clean_environment(environ)
    wandb_settings.tune_core(environ)
    assert environ == told


def test_rows_are_uploaded_each_second_unless_the_run_says_otherwise() -> None:
    usual = wandb_settings.settings_of(RunSpec("r"))
    assert usual["x_file_stream_transmit_interval"] == UPLOAD_INTERVAL_S == 1
    asked = wandb_settings.settings_of(RunSpec("r", settings={"x_file_stream_transmit_interval": 30}))
    assert asked["x_file_stream_transmit_interval"] == 30
