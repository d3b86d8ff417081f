"""Every limit and period of the HTTP port, with its unit and its reason."""

from __future__ import annotations

DEFAULT_ADDRESS = "127.0.0.1:19319"
"""What `auto` is: out of the way of Prometheus' exporters (9100 to 9999) and of the ports that systems hand out."""

CONNECTIONS_MAX = 8
"""Answered at the same time; further ones get 503. A Prometheus or two, a probe and a person make four."""

CLIENT_TIMEOUT_S = 10.0
"""A client that neither sends its request nor takes the answer for this long is dropped: it holds a connection."""

FRESH_S = 1.0
"""An answer is made anew after this at the earliest, so that a crowd of readers costs no more than one."""

LOOP_STUCK_S = 60.0
"""A loop of the daemon that has not come round for so long is stuck: each comes round at least every second, and waits
for a locked inbox or a slow disk no longer than half of this."""

STOP_S = 2.0
"""How long the end of the daemon waits for the port's thread."""
