"""Errors of the run worker.

RunError
├── RowRefusedError        wandb cannot store this row; it is dropped and counted, the run goes on
├── ArtifactRefusedError   wandb or W&B does not take this artifact; it fails with this reason, the run goes on
├── SinkError              wandb or wandb-core failed; the worker exits and is started again
│   └── SinkPermanentError somebody must act first (an API key, a run that may not be resumed)
├── PredecessorError       a former worker of this run cannot be got rid of
└── ServerError            W&B's server, asked by ourselves
    ├── ServerSilentError    it does not answer, or not now: down, 5xx, 429, no sense in it; asked again
    ├── ServerRefusedError   a final answer; `status` is HTTP's
    └── ServerUnsuitedError  it answers, and does not know the question: an older or a foreign server
"""

from __future__ import annotations


class RunError(Exception):
    """Base of what goes wrong between the inbox and wandb."""


class RowRefusedError(RunError):
    """wandb cannot store the row's values; the message says which and why."""


class ArtifactRefusedError(RunError):
    """An artifact cannot be logged, linked or used; `may_pass`: it may be tried again."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class SinkError(RunError):
    """wandb or wandb-core does not work at present. `reason` is one word for status and metrics."""

    permanent = False

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SinkPermanentError(SinkError):
    """wandb refuses the run until somebody acts; the message says what to do."""

    permanent = True


class PredecessorError(RunError):
    """A killed worker or wandb-core of the same run does not go away; it may still write the run's file."""


class ServerError(RunError):
    """W&B's server did not tell what it was asked."""


class ServerSilentError(ServerError):
    """No answer, or none that counts; the next question may have one."""


class ServerRefusedError(ServerError):
    """A final answer; the message says what to do, `said` is the server's own."""

    def __init__(self, status: int, message: str, said: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.said = said


class ServerUnsuitedError(ServerError):
    """The server cannot tell; what depends on it is done without."""
