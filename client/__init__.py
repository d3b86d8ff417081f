"""Experiment tracking that training does not notice: wandb's surface, written to the telemetryd daemon.

    import client as wandb

    run = wandb.init(project="digits", config={"lr": 0.1})
    run.log({"loss": 0.3})
    run.finish()

Without a daemon everything is kept on disk until one comes: `telemetryd serve`, or `telemetryd run -- python train.py`.
"""

from __future__ import annotations

from typing import Any

from client.api import finish, init, login
from client.config import Config
from client.errors import CommError, ConfigError, Error, NoAnswerError, UnsupportedError, UsageError
from client.preinit import PreInitObject, before_init
from client.report import FinishReport
from client.run import Run
from client.settings import Settings
from client.summary import Summary
from client.version import VERSION

__version__ = VERSION

run: Run | None = None
"""The active run; `init` sets it, `finish` unsets it."""

config: Any = PreInitObject("wandb.config")
summary: Any = PreInitObject("wandb.summary")
log = before_init("wandb.log")
define_metric = before_init("wandb.define_metric")
save = before_init("wandb.save")
use_artifact = before_init("wandb.use_artifact")
log_artifact = before_init("wandb.log_artifact")
log_model = before_init("wandb.log_model")
use_model = before_init("wandb.use_model")
link_model = before_init("wandb.link_model")
watch = before_init("wandb.watch")
unwatch = before_init("wandb.unwatch")
mark_preempting = before_init("wandb.mark_preempting")
alert = before_init("wandb.alert")
pin_config_keys = before_init("wandb.pin_config_keys")
join = finish

_NOT_YET = frozenset(
    {
        "Api",
        "Artifact",
        "ArtifactTTL",
        "AlertLevel",
        "Audio",
        "Classes",
        "EvalTable",
        "Graph",
        "Histogram",
        "Html",
        "Image",
        "JoinedTable",
        "Molecule",
        "Object3D",
        "Plotly",
        "Table",
        "Video",
        "agent",
        "attach",
        "box3d",
        "controller",
        "plot",
        "plot_table",
        "restore",
        "setup",
        "sweep",
        "teardown",
        "visualize",
        "require",
    }
)


class MissingFeatureError(UnsupportedError, AttributeError):
    """A part of wandb's module that telemetryd does not have yet. An AttributeError too, so that `hasattr` works."""


def __getattr__(name: str) -> Any:
    if name in _NOT_YET:
        raise MissingFeatureError(
            f"wandb.{name} is not supported by telemetryd yet: log numbers, strings, lists, dicts and arrays"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CommError",
    "Config",
    "ConfigError",
    "Error",
    "FinishReport",
    "MissingFeatureError",
    "NoAnswerError",
    "Run",
    "Settings",
    "Summary",
    "UnsupportedError",
    "UsageError",
    "alert",
    "config",
    "define_metric",
    "finish",
    "init",
    "join",
    "log",
    "login",
    "run",
    "summary",
]
