"""Media values on their way to wandb: their bytes are gathered, and wandb's own classes are given what training gave.

blobs.py gathers, builder.py constructs by the allow-list of kinds.py, each kind's builder stands in a file of its noun.
"""
