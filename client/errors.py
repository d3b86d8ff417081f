"""Errors that reach the caller, under the names of `wandb.errors`. Telemetry's own troubles never do: see guard.py.

Error
├── UsageError                      the call is wrong: as in wandb
│   ├── ConfigError                 a config value would change, or a config file cannot be read: as in wandb
│   ├── UnsupportedError            wandb can do this, and telemetryd cannot (yet)
│   │   └── MissingFeatureError     a name of wandb's module that is not here; an AttributeError too
│   └── ArtifactStatusError         an artifact is not in the state that the call needs; an AttributeError too
│       ├── ArtifactNotLoggedError  it has no version yet: wait() for it
│       └── ArtifactFinalizedError  it was logged, and cannot be changed any more
├── CommError                       what was asked for needs the daemon or W&B, and did not come
│   ├── NoAnswerError               nobody answered in time
│   ├── KeyRefusedError             the daemon does not let this client in
│   ├── AuthenticationError         W&B refused the daemon's key: as in wandb
│   ├── SweepNotFoundError          W&B does not know the sweep, or not any more
│   ├── WaitTimeoutError            an artifact is not in W&B yet; it is still on its way
│   └── ArtifactFailedError         it will never be; a ValueError too, as in wandb
└── WandbCoreNotAvailableError      never raised here, wandb-core is the daemon's: for `except` clauses that name it
"""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """Base of what the client raises."""

    def __init__(self, message: str, context: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context or {}


class UsageError(Error):
    """The call is wrong; the message says what to write instead."""


class ConfigError(UsageError):
    """A value of `run.config` would change without `allow_val_change`, or a config file cannot be read."""


class UnsupportedError(UsageError):
    """wandb can do this and telemetryd cannot; the message says what to use."""


class MissingFeatureError(UnsupportedError, AttributeError):
    """A part of wandb's module that telemetryd does not have. An AttributeError too, so that `hasattr` works."""


class CommError(Error):
    """An answer was needed from the daemon or from W&B, and could not be had; `exc` is the cause, if one is known."""

    def __init__(self, msg: str, exc: Exception | None = None) -> None:
        super().__init__(msg)
        self.exc = exc


class NoAnswerError(CommError):
    """No answer in time."""


class KeyRefusedError(CommError):
    """The daemon does not let this client in: its key is unknown or missing. Told, never raised into training."""


class AuthenticationError(CommError):
    """W&B refused the key that the daemon has."""


class SweepNotFoundError(CommError):
    """W&B does not know the sweep: it was deleted, or is of another entity or project."""


class WandbCoreNotAvailableError(Error):
    """wandb-core cannot be started. Never raised here: the run worker has it, and is started again."""


class ArtifactStatusError(UsageError, AttributeError):
    """An artifact is not in the state that the call needs."""


class ArtifactNotLoggedError(ArtifactStatusError):
    """Something that only a version in W&B has was asked of an artifact that has none yet."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"'Artifact.{name}' used prior to logging artifact or while in offline mode."
            " Call wait() before accessing logged artifact properties."
        )


class ArtifactFinalizedError(ArtifactStatusError):
    """An artifact that was logged was to be changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"'Artifact.{name}' used on logged artifact. Can't modify finalized artifact.")


class WaitTimeoutError(CommError):
    """The artifact is not in W&B yet. It is still on its way; wait again."""


class ArtifactFailedError(CommError, ValueError):
    """The artifact will not get to W&B; the message says why."""
