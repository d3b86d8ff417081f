"""Every limit and period of sampling, with its unit and its reason. What a user may want to change is a setting."""

from __future__ import annotations

RING_PERIOD_S = 1.0
"""Between two readings of the ring's metrics: fine enough to see what came before a crash."""

RING_KEEPS_S = 300.0
"""How far back the ring reaches: what a person asks for after a crash, and a few MiB with eight GPUs."""

RING_MAX_READINGS = 20_000
"""Readings in the ring, whatever their age: eight GPUs, host and several runs at 1 Hz for five minutes and more."""

FRAME_MAX_BYTES = 8 << 20
"""Of one message; the largest lists the devices of a machine, some tens of KiB."""

PIPE_BYTES = 1 << 20
"""The report pipe's buffer: half a minute of eight GPUs while the daemon is stopped. Linux gives that to anybody."""

BACKLOG_MAX_BYTES = 1 << 20
"""What the sampler keeps beside that before it drops readings."""

BEAT_S = 5.0
"""Between two signs of life."""

HUNG_NOTICE_S = 10.0
"""How long one call may take before it is reported as hung. NVML answers within milliseconds, a busy driver within a
second or two; a network disk within a few."""

HUNG_LIMIT_S = 300.0
"""A call that has not returned by then is not waited for any more: the process is started anew, which may or may not
cure it. Until then everything else is sampled."""

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
"""First and largest pause before a driver that went away, or a card that was lost, is looked for again."""

RETRY_NO_DRIVER_S = 600.0
"""The same where there was no driver at all: one may be installed meanwhile."""

STOP_WAIT_S = 2.0
"""How long the driver's shutdown waits for calls that are on their way; those that hang are left to themselves."""

EVENT_WAIT_MS = 1000
"""One wait for an event of NVML; an event ends it at once. Bounds how long a stop takes."""

PROCESSES_MAX = 1000
"""Processes looked at in one training's tree; a data loader has tens."""

STALE_AFTER_PERIODS = 3.0
STALE_MIN_S = 30.0
"""A value that was not renewed for so many of its periods, and so long at least, is not shown as the present one."""
