"""Every limit and period of a node, with its unit and its reason."""

ASK_PERIOD_S = 3.0
"""Between two questions to the run's daemon for what trains here: a run is sampled soon after it began, and a hundred
nodes cost the daemon thirty questions a second."""

ASK_TIMEOUT_S = 5.0
"""For one question with its connection and handshake over a slow line."""

TURN_S = 0.5
"""How often the main thread looks when nothing happens: no descriptor tells that a session or the sampler ended."""

RULES_LOOK_S = 1.0
"""How often health rules are asked for what is over; they are fed as samples come."""

JOURNAL_MAX_BYTES = 64 << 20
"""Samples of one run that may wait on this machine's disk while the daemon cannot be reached: some 12 hours of eight
GPUs every 10 s. What comes beyond is dropped, and counted."""

MEMORY_MAX_BYTES = 16 << 20
"""The same where the journal cannot be on disk."""

LEAVING_MAX = 16
"""Ended runs whose last samples still wait to be sent; the oldest beyond that stays on disk for `telemetryd push`."""

CLOSE_TIMEOUT_S = 5.0
"""For the last samples when the node is told to stop."""
