"""Stands before the real wandb on the path of a script that runs through the sidecar: `import wandb` gives `client`."""

import sys

import client

sys.modules[__name__] = client
