"""Errors that reach the caller. Telemetry's own troubles never do: they end in guard.py.

Error
├── UsageError              the call is wrong: as in wandb
│   ├── ConfigError         a config value would change, or a config file cannot be read: as in wandb
│   └── UnsupportedError    wandb can do this, and telemetryd cannot yet
└── CommError               what was asked for needs the daemon or W&B, and did not come
    └── NoAnswerError       nobody answered in time
"""

from __future__ import annotations


class Error(Exception):
    """Base of what the client raises."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(Error):
    """The call is wrong; the message says what to write instead."""


class ConfigError(UsageError):
    """A value of `run.config` would change without `allow_val_change`, or a config file cannot be read."""


class UnsupportedError(UsageError):
    """wandb can do this and telemetryd cannot yet; the message says what to use."""


class CommError(Error):
    """An answer was needed from the daemon or from W&B, and could not be had."""


class NoAnswerError(CommError):
    """No answer in time."""
