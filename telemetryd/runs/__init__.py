"""The run worker: a process for each run, which turns records into a wandb run. The only place that imports wandb."""
