"""What the command line exits with. `run` exits with its command's own code; see launcher.py for the exceptions."""

OK = 0
"""Done; for `serve`: stopped when told to."""

FAILED = 1
"""`doctor` found something that does not work, or a command failed for a reason of its own, which it says."""

USAGE = 2
"""A wrong call or a wrong setting; nothing was started. `run` too: its command did not start."""

NO_DAEMON = 3
"""`status`: no daemon answers at the endpoint."""

ALREADY_SERVING = 4
"""`serve`: another daemon has the endpoint or the state folder."""

PLACE = 5
"""`serve`: a folder, socket or key cannot be used; `keys`: the keys cannot be."""

MISSING_EXTRA = 6
"""The command needs packages of the `daemon` extra."""

NOT_EXECUTABLE = 126
"""`run`: the command was found and cannot be executed, as a shell says it."""

NOT_FOUND = 127
"""`run`: there is no such command, as a shell says it."""

SIGNALLED = 128
"""`run`: plus the signal's number, when a signal ended the command."""
