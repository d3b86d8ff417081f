"""Defaults and bounds of the settings, with their unit and the reason for each value."""

DRAIN_TIMEOUT_S = 60.0
"""How long a person waits at a terminal before wanting it back; what is pending then is delivered later."""

DRAIN_TIMEOUT_MAX_S = 7 * 24 * 3600.0
"""A week: W&B's own uploader gives up then too."""

INBOX_MAX_BYTES = 8 << 30
"""Some 40 million rows of 10 floats: days without W&B, and still a small part of a training machine's disk."""

INBOX_MIN_BYTES = 16 << 20
"""Less could not take a single batch of the largest size beside the database's own pages."""

SAMPLE_PERIOD_S = 10.0
"""Between two samples of the machine: fine enough for curves of hours, and below wandb's own 15 s."""

SAMPLE_PERIOD_MIN_S = 0.1
"""NVML renews its values some ten times a second at most."""

SAMPLE_PERIOD_MAX_S = 24 * 3600.0
"""Longer than most runs."""

NODE_LABEL_MAX_CHARS = 64
"""It stands behind every key of the System panel."""

ARTIFACT_MAX_BYTES = 64 << 30
"""Some tens of checkpoints of gigabytes: what a slow line may lag behind."""

ARTIFACT_CACHE_MAX_BYTES = 64 << 30
"""Some large data sets, and a small part of a training machine's disk."""

UPLOAD_RATE_MIN_BYTES_PER_S = 256 << 10
"""The largest request with rows that wandb-core makes (10 MiB) then takes 40 s; after 60 s it is sent again."""

MAX_WORKERS = 16
"""Runs delivered at once. A worker and its wandb-core take some 200 MB; more runs than this wait for their turn."""

MAX_WORKERS_MAX = 256
"""Beyond this a typing error is likelier than a machine with the memory for it."""

HEALTH_DURATION_MIN_S = 5.0
HEALTH_DURATION_MAX_S = 7 * 24 * 3600.0
"""The shortest and longest threshold of a health rule that is a duration; below it samples say too little."""

HEALTH_ALERT_WAIT_S = 1800.0
"""Between two alerts of one rule and run: W&B sends each by mail and to Slack."""

HEALTH_ALERT_WAIT_MAX_S = 7 * 24 * 3600.0
"""The longest wait that can be set."""
