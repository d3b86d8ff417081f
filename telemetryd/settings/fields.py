"""The daemon's settings as data: one row each, from which the dataclass is checked, files, variables and flags are
read, `--help` is printed and docs/configuration.md is written. A test holds all of them in step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from telemetryd.settings import limits
from telemetryd.settings.families import parse_period, parse_periods
from telemetryd.settings.rules import parse_rules
from telemetryd.settings.values import (
    parse_bool,
    parse_bytes,
    parse_choice,
    parse_count,
    parse_duration,
    parse_endpoint,
    parse_folder,
    parse_folders,
    parse_http,
    parse_label,
    parse_ranks,
    parse_rate,
)


@dataclass(frozen=True)
class Field:
    """One setting. `name` is its key in a file; `default` is None where client/places.py says it, and
    `default_text` is how the documentation puts it. `flag` takes a value shown as `metavar`; without a metavar the
    flag is a switch."""

    name: str
    kind: str
    parse: Callable[[Any], Any]
    default: Any
    default_text: str
    env: str
    flag: str
    metavar: str | None
    help: str


FIELDS: tuple[Field, ...] = (
    Field(
        "endpoint", "URL", parse_endpoint, None,
        "`ipc://$XDG_RUNTIME_DIR/telemetryd/daemon.sock`, else `ipc://<temp folder>/telemetryd-<uid>/daemon.sock`",
        "TELEMETRYD_ENDPOINT", "--endpoint", "URL",
        "where clients find the daemon: ipc:///path/to/socket or tcp://host:port",
    ),
    Field(
        "state_dir", "folder", parse_folder, None,
        "`$XDG_STATE_HOME/telemetryd`, else `~/.local/state/telemetryd`",
        "TELEMETRYD_STATE_DIR", "--state-dir", "DIR",
        "where the daemon keeps its inbox and its logs; one daemon each",
    ),
    Field(
        "spool_dir", "folder", parse_folder, None,
        "`spool` in the state folder",
        "TELEMETRYD_SPOOL_DIR", "--spool-dir", "DIR",
        "where clients keep their journals, and the daemon looks for those of dead ones",
    ),
    Field(
        "keys_dir", "folder", parse_folder, None,
        "`keys` in the state folder",
        "TELEMETRYD_KEYS_DIR", "--keys-dir", "DIR",
        "where `telemetryd keys` keeps the daemon's keys and its clients', which TCP beyond this machine needs",
    ),
    Field(
        "drain_timeout_s", "duration", parse_duration(limits.DRAIN_TIMEOUT_MAX_S), limits.DRAIN_TIMEOUT_S, "60 s",
        "TELEMETRYD_DRAIN_TIMEOUT_S", "--drain-timeout", "S",
        "how long to wait for the delivery of what is pending, at the end of `run` and when `serve` is told to stop;"
        " what is left then stays on disk and is delivered later",
    ),
    Field(
        "inbox_max_bytes", "size", parse_bytes(limits.INBOX_MIN_BYTES), limits.INBOX_MAX_BYTES, "8GiB",
        "TELEMETRYD_INBOX_MAX_BYTES", "--inbox-max", "SIZE",
        "how much the inbox may hold on disk; at the cap clients keep their rows in their spools",
    ),
    Field(
        "artifact_max_bytes", "size", parse_bytes(0), limits.ARTIFACT_MAX_BYTES, "64GiB",
        "TELEMETRYD_ARTIFACT_MAX_BYTES", "--artifact-max", "SIZE",
        "how much content of artifacts may wait for W&B on disk: in the spool for each training process, and in the"
        " state folder for what came over the wire; at the cap a new artifact fails",
    ),
    Field(
        "artifact_cache_max_bytes", "size", parse_bytes(0), limits.ARTIFACT_CACHE_MAX_BYTES, "64GiB",
        "TELEMETRYD_ARTIFACT_CACHE_MAX_BYTES", "--artifact-cache-max", "SIZE",
        "how much downloaded artifacts may take in the state folder; what was not asked for longest goes first",
    ),
    Field(
        "upload_max_bytes_per_s", "rate", parse_rate, 0, "0",
        "TELEMETRYD_UPLOAD_MAX_BYTES_PER_S", "--upload-max", "RATE",
        "how fast all runs together may upload to W&B, as in 4MB/s; rows go before files; 0 is without a limit",
    ),
    Field(
        "run_dirs", "folders", parse_folders, "", "over ipc anywhere, over TCP `runs` in the state folder",
        "TELEMETRYD_RUN_DIRS", "--run-dirs", "DIR:DIR",
        "below which training may have its runs' folders (`WANDB_DIR`, `init(dir=…)`), besides `runs` in the state"
        " folder; a run that names another one lies in `runs`. Over ipc a user other than the daemon's and root is held"
        " to these, too",
    ),
    Field(
        "late", "choice", parse_choice("keep", "drop"), "keep", "keep",
        "TELEMETRYD_LATE", "--late", "keep|drop",
        "rows with a lower step than one already written: kept at a free step with their own in `late_step`,"
        " or dropped and counted, as wandb does",
    ),
    Field(
        "ranks", "policy", parse_ranks, "main", "main",
        "TELEMETRYD_RANKS", "--ranks", "POLICY",
        "what becomes of the values of a distributed job's ranks where the job does not say: main, aggregate or all,"
        " with others for keys as in main,loss=aggregate (distributed.md)",
    ),
    Field(
        "log_level", "choice", parse_choice("debug", "info", "warning", "error"), "info", "info",
        "TELEMETRYD_LOG_LEVEL", "--log-level", "LEVEL",
        "what the daemon's log tells: debug, info, warning or error",
    ),
    Field(
        "max_workers", "count", parse_count(1, limits.MAX_WORKERS_MAX), limits.MAX_WORKERS, str(limits.MAX_WORKERS),
        "TELEMETRYD_MAX_WORKERS", "--max-workers", "N",
        "how many runs are delivered at the same time",
    ),
    Field(
        "exit_when_idle", "bool", parse_bool, False, "false",
        "TELEMETRYD_EXIT_WHEN_IDLE", "--exit-when-idle", None,
        "stop by itself once no session is open and everything is delivered",
    ),
    Field(
        "sampling", "choice", parse_choice("runs", "always", "off"), "runs", "runs",
        "TELEMETRYD_SAMPLING", "--sampling", "runs|always|off",
        "when GPUs and host are sampled: while a run is open, always, or never; when off, wandb's own sampler works",
    ),
    Field(
        "sample_period_s", "duration", parse_period, limits.SAMPLE_PERIOD_S, "10 s",
        "TELEMETRYD_SAMPLE_PERIOD_S", "--sample-period", "S",
        "between two samples that go to W&B",
    ),
    Field(
        "sample_periods", "periods", parse_periods, "", "the same for all",
        "TELEMETRYD_SAMPLE_PERIODS", "--sample-periods", "FAMILY=S,…",
        "the same for families of metrics that are to have another one, as in gpu=1s,disk=1min (sampling.md)",
    ),
    Field(
        "sample_all_gpus", "bool", parse_bool, False, "false",
        "TELEMETRYD_SAMPLE_ALL_GPUS", "--sample-all-gpus", None,
        "sample every GPU of the machine, and not only those that CUDA shows to the runs",
    ),
    Field(
        "sample_paths", "folders", parse_folders, "", "none besides the run's folder, spool, `/` and `/dev/shm`",
        "TELEMETRYD_SAMPLE_PATHS", "--sample-paths", "DIR:DIR",
        "further folders whose free space is sampled, such as those of checkpoints",
    ),
    Field(
        "node_label", "text", parse_label, "auto", "auto",
        "TELEMETRYD_NODE_LABEL", "--node-label", "NAME|auto|off",
        "what tells this node's samples from those of others in one run, as wandb's `x_label`: auto is the host's name"
        " when the job has several nodes",
    ),
    Field(
        "health", "rules", parse_rules, "", "as in health.md",
        "TELEMETRYD_HEALTH", "--health", "RULE=on|off|N,…",
        "health rules switched on or off, or given another threshold, as in disk=95,no_progress=off (health.md)",
    ),
    Field(
        "health_alerts", "choice", parse_choice("on", "off"), "on", "on",
        "TELEMETRYD_HEALTH_ALERTS", "--health-alerts", "on|off",
        "whether what a health rule finds becomes an alert of the run in W&B, besides its event",
    ),
    Field(
        "health_alert_wait_s", "duration", parse_duration(limits.HEALTH_ALERT_WAIT_MAX_S), limits.HEALTH_ALERT_WAIT_S,
        "30 min",
        "TELEMETRYD_HEALTH_ALERT_WAIT_S", "--health-alert-wait", "S",
        "between two alerts of the same rule of one run",
    ),
    Field(
        "post_mortem", "choice", parse_choice("on", "off"), "on", "on",
        "TELEMETRYD_POST_MORTEM", "--post-mortem", "on|off",
        "whether files about the end of a training process that crashed are saved with its run (health.md)",
    ),
    Field(
        "http", "address", parse_http, "auto", "auto",
        "TELEMETRYD_HTTP", "--http", "HOST:PORT|auto|off",
        "where /metrics, /healthz, /readyz and /status.json are answered; auto is 127.0.0.1:19319 where that is free,"
        " and nowhere for a daemon that `run` started (operations.md)",
    ),
)  # fmt: skip
"""In the order of the documentation."""

BY_NAME = {field.name: field for field in FIELDS}
