"""The settings a daemon runs with: checked, complete, unchanging. fields.py says what each means; load.py makes one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DaemonSettings:
    """Everything a daemon can be told. Paths are absolute. Make one with `telemetryd.settings.load`."""

    endpoint: str
    state_dir: Path
    spool_dir: Path
    keys_dir: Path
    drain_timeout_s: float
    inbox_max_bytes: int
    artifact_max_bytes: int
    artifact_cache_max_bytes: int
    upload_max_bytes_per_s: int
    run_dirs: str
    late: str
    ranks: str
    log_level: str
    max_workers: int
    exit_when_idle: bool
    sampling: str
    sample_period_s: float
    sample_periods: str
    sample_all_gpus: bool
    sample_paths: str
    node_label: str
    health: str
    health_alerts: str
    health_alert_wait_s: float
    post_mortem: str
    http: str
