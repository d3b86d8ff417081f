"""What the process prints, on its way into the run: see docs/console.md.

throttle   how much of it is taken (pure)
scribe     text of both streams in order, throttled, into a session
wrap       sys.stdout and sys.stderr, seen from their write methods
redirect   descriptors 1 and 2, led through a helper process; helper is that process
streams    the two streams of a command, as pipes or pseudo-terminals
tee        shows one of them, and adds its text to a transcript: both in the order in which they were read
capture    which of these a session has
"""
