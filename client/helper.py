"""`wandb.helper`: `parse_config`, which makes a dict of what `init(config=…)` takes."""

from client.config import parse_config

__all__ = ["parse_config"]
