"""What `wandb.init` is called with: from a RunSpec, and an environment that says nothing else.

The run is the training process's: its program, host, git state and pid come from the spec's metadata; where that says
nothing, wandb must not put the worker's own in. Settings that could send the API key elsewhere, or break the worker,
are not taken from a training process: `ALLOWED` lists what is.
"""

from __future__ import annotations

import configparser
import logging
import os
import shutil
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from client.protocol.messages import RunSpec
from telemetryd.inbox.content import WANDB_CACHE
from telemetryd.runs.limits import (
    CORE_GC_PERCENT,
    CORE_MEMORY_SOFT_MIB,
    FILE_STREAM_TIMEOUT_S,
    FINISH_TIMEOUT_S,
    FLUSH_INTERVAL_S,
    GRAPHQL_RETRIES,
    INIT_TIMEOUT_S,
    NO_GPU,
    RETRY_WAIT_MAX_S,
    UPLOAD_INTERVAL_S,
    WANDB_SAMPLER_OFF_S,
)
from telemetryd.runs.wire_values import revive
from telemetryd.settings import api_key

log = logging.getLogger(__name__)

KEPT_VARIABLES = frozenset(
    {
        "WANDB_API_KEY",
        "WANDB_API_KEY_FILE",
        "WANDB_ARTIFACT_DIR",
        "WANDB_BASE_URL",
        "WANDB_CACHE_DIR",
        "WANDB_CONFIG_DIR",
        "WANDB_CORE_DEBUG",
        "WANDB_CREDENTIALS_FILE",
        "WANDB_DATA_DIR",
        "WANDB_DEBUG",
        "WANDB_ERROR_REPORTING",
        "WANDB_IDENTITY_TOKEN_FILE",
        "WANDB_INSECURE_DISABLE_SSL",
        "WANDB_X_EXTRA_HTTP_HEADERS",
    }
)
"""What of the daemon's WANDB_* reaches wandb: how to reach W&B and where to cache. The rest describes a run, and the
client has read it already; WANDB_SERVICE would tie the worker to another process's wandb-core."""

ALLOWED = frozenset(
    {
        "allow_offline_artifacts",
        "app_url_override",
        "console_chunk_max_bytes",
        "console_chunk_max_seconds",
        "console_multipart",
        "disable_code",
        "disable_git_fork_point",
        "disable_job_creation",
        "docker",
        "email",
        "git_commit",
        "git_remote_url",
        "git_root",
        "heartbeat_seconds",
        "host",
        "ignore_globs",
        "job_name",
        "job_source",
        "label_disable",
        "notebook_name",
        "organization",
        "program",
        "program_abspath",
        "program_relpath",
        "summary_warnings",
        "sweep_id",
        "symlink",
        "table_raise_on_max_row_limit_exceeded",
        "username",
        "x_disable_machine_info",
        "x_disable_meta",
        "x_disable_stats",
        "x_executable",
        "x_file_stream_max_bytes",
        "x_file_stream_transmit_interval",
        "x_label",
        "x_stats_coreweave_metadata_base_url",
        "x_stats_cpu_count",
        "x_stats_cpu_logical_count",
        "x_stats_disk_paths",
        "x_stats_gpu_count",
        "x_stats_gpu_device_ids",
        "x_stats_gpu_type",
        "x_stats_sampling_interval",
        "x_stats_track_process_tree",
    }
)
"""Settings that a training process may give."""

TAKEN = frozenset(
    {
        "code_dir",
        "console",
        "disable_git",
        "git_commit",
        "git_remote",
        "git_remote_url",
        "git_root",
        "x_save_requirements",
    }
)
"""Settings that the client itself acts on: what they ask for comes as facts and files of the process."""

_FROM_METADATA = {
    "program": "program",
    "program_relpath": "program_relpath",
    "program_abspath": "program_abspath",
    "host": "host",
    "username": "username",
    "executable": "x_executable",
    "git_root": "git_root",
    "git_commit": "git_commit",
    "git_remote_url": "git_remote_url",
    "gpu_count": "x_stats_gpu_count",
    "gpu_type": "x_stats_gpu_type",
    "pid": "x_stats_pid",
}


def clean_environment(environ: MutableMapping[str, str]) -> None:
    """Leave only those WANDB_* variables that say how to reach W&B."""
    for name in [name for name in environ if name.startswith("WANDB_") and name not in KEPT_VARIABLES]:
        del environ[name]


def keep_house(environ: MutableMapping[str, str], state_dir: Path, name: str) -> None:
    """Have wandb stage and cache artifacts below the daemon's state, where they are cleaned up; unless told
    otherwise."""
    environ.setdefault("WANDB_DATA_DIR", str(_own_data(state_dir, name)))
    environ.setdefault("WANDB_CACHE_DIR", str(state_dir / WANDB_CACHE))


def tune_core(environ: MutableMapping[str, str]) -> None:
    """Have wandb-core spend less CPU than by itself, unless told otherwise.

    It is a program in Go that collects its garbage often. And it counts each row for its makers: with error reports on,
    that and they are a tenth of what it spends; what it says of errors is in its log, which the worker reads."""
    environ.setdefault("GOGC", str(CORE_GC_PERCENT))
    environ.setdefault("GOMEMLIMIT", f"{CORE_MEMORY_SOFT_MIB}MiB")
    environ.setdefault("WANDB_ERROR_REPORTING", "false")


def keep_data(environ: MutableMapping[str, str], state_dir: Path, name: str, kept: Path) -> None:
    """The run is offline: what wandb stages must stay for `wandb sync`, and lies beside the run from now on."""
    if environ.get("WANDB_DATA_DIR") == str(_own_data(state_dir, name)):
        environ["WANDB_DATA_DIR"] = str(kept / "data")


def leave_house(state_dir: Path, name: str) -> None:
    """The run is in W&B: nothing that wandb staged for it is needed any more."""
    shutil.rmtree(_own_data(state_dir, name), ignore_errors=True)


def _own_data(state_dir: Path, name: str) -> Path:
    return state_dir / "wandb" / "data" / name


def take_place(metadata: dict[str, Any], *, trust_paths: bool) -> None:
    """Let wandb find the training's arguments and working directory where it looks for them: in this process.

    A directory that is not trusted is not entered: wandb reads settings there."""
    arguments = metadata.get("args")
    program = str(metadata.get("program") or "")
    sys.argv = [program, *map(str, arguments)] if isinstance(arguments, list) else [program]
    folder = metadata.get("cwd")
    if isinstance(folder, str) and trust_paths:
        try:
            os.chdir(folder)
        except OSError as error:
            log.warning("cwd_missing path=%s reason=%r", folder, error.strerror)


def server_url(environ: Mapping[str, str]) -> str:
    """The W&B server's URL: $WANDB_BASE_URL, else what `wandb login --host` has kept in wandb's own settings file."""
    if environ.get("WANDB_BASE_URL"):
        return api_key.server_url(environ)
    folder = environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(Path(folder) / "settings")
        kept = parser.get("default", "base_url", fallback="")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        log.warning("wandb_settings_unreadable reason=%r", str(error))
        kept = ""
    return api_key.server_url({"WANDB_BASE_URL": kept})


def settings_of(spec: RunSpec, *, sampled: bool = False) -> dict[str, Any]:
    """wandb's settings for the run, by name. `sampled`: the machine's samples come from the daemon."""
    metadata = spec.metadata
    # Packages, patches and code are the training process's: they come from there, not from this process and its disk.
    settings: dict[str, Any] = {"x_save_requirements": False, "disable_git": True, "save_code": False}
    for name, value in spec.settings.items():
        if name in ALLOWED:
            settings[name] = value
        elif name not in TAKEN:
            log.warning("setting_ignored name=%s", name)
    for name, setting in _FROM_METADATA.items():
        if metadata.get(name) is not None:
            settings.setdefault(setting, metadata[name])
    settings |= {
        "console": "off",
        "silent": True,
        "init_timeout": INIT_TIMEOUT_S,
        "finish_timeout": FINISH_TIMEOUT_S,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": FLUSH_INTERVAL_S,
        "x_file_stream_retry_wait_max_seconds": RETRY_WAIT_MAX_S,
        "x_file_stream_timeout_seconds": FILE_STREAM_TIMEOUT_S,
        "x_graphql_retry_max": GRAPHQL_RETRIES,
        "x_graphql_retry_wait_max_seconds": RETRY_WAIT_MAX_S,
    }
    settings.setdefault("x_file_stream_transmit_interval", UPLOAD_INTERVAL_S)
    if sampled:
        settings["x_stats_sampling_interval"] = WANDB_SAMPLER_OFF_S
        settings["x_stats_gpu_device_ids"] = [NO_GPU]  # its first sample would number GPUs as the driver does
    return settings


def init_arguments(spec: RunSpec, mode: str, fallback_dir: Path, *, sampled: bool = False) -> dict[str, Any]:
    """Keyword arguments for `wandb.init`, settings as a mapping. Raises ValueError for a value that cannot be."""
    directory = Path(spec.directory) if spec.directory else fallback_dir
    return {
        "entity": spec.entity,
        "project": spec.project,
        "dir": str(directory),
        "id": spec.run_id,
        "name": spec.name,
        "notes": spec.notes,
        "tags": spec.tags or None,
        "config": revive(spec.config),
        "group": spec.group,
        "job_type": spec.job_type,
        "mode": mode,
        "resume": "allow" if spec.resume == "auto" else spec.resume,
        "save_code": False,
        "settings": settings_of(spec, sampled=sampled),
    }
