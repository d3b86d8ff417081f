"""Whether the packages are there that a daemon needs and a training process does not."""

from __future__ import annotations

from importlib.util import find_spec

from telemetryd.errors import MissingExtraError

DAEMON_EXTRA = {"wandb": "wandb", "psutil": "psutil", "pynvml": "nvidia-ml-py", "rich": "rich",
                "prometheus_client": "prometheus-client"}  # fmt: skip
"""Module → distribution of what `telemetryd[daemon]` brings."""

INSTALL = "pip install 'telemetryd[daemon]'"


def missing() -> list[str]:
    """The distributions of the extra that are not installed."""
    return [distribution for module, distribution in DAEMON_EXTRA.items() if find_spec(module) is None]


def require_daemon(command: str) -> None:
    """Raises MissingExtraError, which says how to mend it, when the extra is not wholly installed."""
    if lacking := missing():
        raise MissingExtraError(
            f"`telemetryd {command}` needs {', '.join(lacking)}, which a training process does without: {INSTALL}"
        )
