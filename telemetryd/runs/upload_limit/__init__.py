"""The limit on the rate of uploads to W&B (the setting upload_max_bytes_per_s).

wandb-core has no such setting, but takes a proxy. So a run worker that has a limit runs one on loopback, for its own
wandb-core alone, and lets what wandb-core sends through it no faster than that:

    wandb-core ──► UploadProxy (in the run worker, proxy.py) ──► the environment's proxy, if any ──► W&B, its storage
                      │ asks before each piece
                      ▼
                   Line (pace.py): one word in a file that all of the daemon's workers map; the limit is theirs together

heads.py reads and writes the heads of HTTP requests, route.py knows which proxy the environment names for a host, and
dial.py opens the connection. Without a limit nothing of this is loaded.
"""
