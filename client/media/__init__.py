"""Media values: wandb's data types as *what to construct*, captured when wandb captures, encoded by the daemon.

One noun per file. A type checks its arguments as wandb does, copies the caller's bytes once (payload.py), and tells in
`_wire` its kind and arguments; docs/media.md has every type with what it costs. `base.py` says how to add one.
`client.data_types` has them all under wandb's names.
"""
