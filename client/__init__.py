"""Experiment tracking that training does not notice: wandb's surface, written to the telemetryd daemon.

    import client as wandb

    run = wandb.init(project="digits", config={"lr": 0.1})
    run.log({"loss": 0.3})
    run.finish()

Without a daemon everything is kept on disk until one comes: `telemetryd serve`, or `telemetryd run -- python train.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client import errors, helper, lazy, util
from client.alerts import AlertLevel
from client.api import finish, init, teardown
from client.config import Config
from client.errors import (
    ArtifactFailedError,
    ArtifactFinalizedError,
    ArtifactNotLoggedError,
    CommError,
    ConfigError,
    Error,
    MissingFeatureError,
    NoAnswerError,
    UnsupportedError,
    UsageError,
    WaitTimeoutError,
)
from client.names import NEVER
from client.preinit import PreInitObject, before_init
from client.process_wide import ensure_configured, login, require, restore, setup
from client.report import FinishReport
from client.run import Run
from client.settings import Settings
from client.summary import Summary
from client.term import termerror, termlog, termsetup, termwarn
from client.version import VERSION

if TYPE_CHECKING:
    from client import data_types, plot
    from client.artifacts import Artifact, ArtifactTTL
    from client.artifacts.api import Api
    from client.media.audio import Audio
    from client.media.classes import Classes
    from client.media.graph import Graph
    from client.media.histogram import Histogram
    from client.media.html import Html
    from client.media.image import Image
    from client.media.molecule import Molecule
    from client.media.object3d import Object3D, box3d
    from client.media.plotly import Plotly
    from client.media.video import Video
    from client.plot import plot_table, visualize
    from client.sweeps.calls import agent, sweep
    from client.tables import JoinedTable, Table

_LAZY = {
    "Api": "client.artifacts.api",
    "Artifact": "client.artifacts.artifact",
    "ArtifactTTL": "client.artifacts.checks",
    "Audio": "client.media.audio",
    "Classes": "client.media.classes",
    "Graph": "client.media.graph",
    "Histogram": "client.media.histogram",
    "Html": "client.media.html",
    "Image": "client.media.image",
    "JoinedTable": "client.tables.joined",
    "Molecule": "client.media.molecule",
    "Object3D": "client.media.object3d",
    "Plotly": "client.media.plotly",
    "Table": "client.tables.table",
    "Video": "client.media.video",
    "agent": "client.sweeps.calls",
    "box3d": "client.media.object3d",
    "data_types": "client.data_types",
    "plot": "client.plot",
    "plot_table": "client.plot",
    "sweep": "client.sweeps.calls",
    "visualize": "client.plot",
}
"""What not every training uses, and where it is: loaded at first use."""

__version__ = VERSION

run: Run | None = None
"""The active run; `init` sets it, `finish` unsets it."""

config: Any = PreInitObject("wandb.config")
summary: Any = PreInitObject("wandb.summary")
log = before_init("wandb.log", Run.log)
define_metric = before_init("wandb.define_metric", Run.define_metric)
save = before_init("wandb.save", Run.save)
use_artifact = before_init("wandb.use_artifact", Run.use_artifact)
log_artifact = before_init("wandb.log_artifact", Run.log_artifact)
log_model = before_init("wandb.log_model", Run.log_model)
use_model = before_init("wandb.use_model", Run.use_model)
link_model = before_init("wandb.link_model", Run.link_model)
watch = before_init("wandb.watch", Run.watch)
unwatch = before_init("wandb.unwatch", Run.unwatch)
mark_preempting = before_init("wandb.mark_preempting", Run.mark_preempting)
alert = before_init("wandb.alert", Run.alert)
pin_config_keys = before_init("wandb.pin_config_keys", Run.pin_config_keys)
join = finish


def __getattr__(name: str) -> Any:
    if name in NEVER:
        raise MissingFeatureError(f"wandb.{name} cannot be had in the training process: {NEVER[name]}")
    return lazy.load(__name__, _LAZY, name)


def __dir__() -> list[str]:
    return lazy.listed(__name__, _LAZY)


__all__ = [
    "AlertLevel",
    "Api",
    "Artifact",
    "ArtifactFailedError",
    "ArtifactFinalizedError",
    "ArtifactNotLoggedError",
    "ArtifactTTL",
    "Audio",
    "Classes",
    "CommError",
    "Config",
    "ConfigError",
    "Error",
    "FinishReport",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "JoinedTable",
    "MissingFeatureError",
    "Molecule",
    "NoAnswerError",
    "Object3D",
    "Plotly",
    "Run",
    "Settings",
    "Summary",
    "Table",
    "UnsupportedError",
    "UsageError",
    "Video",
    "WaitTimeoutError",
    "agent",
    "alert",
    "box3d",
    "config",
    "data_types",
    "define_metric",
    "ensure_configured",
    "errors",
    "finish",
    "helper",
    "init",
    "join",
    "log",
    "login",
    "mark_preempting",
    "pin_config_keys",
    "plot",
    "plot_table",
    "require",
    "restore",
    "run",
    "setup",
    "summary",
    "sweep",
    "teardown",
    "termerror",
    "termlog",
    "termsetup",
    "termwarn",
    "unwatch",
    "util",
    "visualize",
    "watch",
]
