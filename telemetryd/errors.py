"""Errors of the daemon and its command line. The message says what to do.

    TelemetrydError
    ├── SettingsError        a setting is unknown or its value cannot be
    ├── PlaceError           a folder or socket cannot be used
    ├── AlreadyServingError  another daemon has the endpoint or the state folder
    ├── MissingExtraError    the command needs packages that are not installed
    ├── ApiKeyError          a W&B key cannot be read, or cannot be one
    ├── KeysError            a key for the wire cannot be read, made or changed
    └── InboxError
        ├── InboxUnavailableError  retryable: the disk is full, read-only, slow or gone
        ├── InboxCorruptError      the database file is damaged; the next start moves it aside
        ├── UnknownSessionError    a batch of a session that never said hello
        ├── SessionClaimError      a hello that names another process's session
        └── GapError               a batch that begins beyond what is kept; carries `acked`

Whatever is raised before the daemon serves ends it with its message on stderr; InboxErrors never end it.
"""

from __future__ import annotations


class TelemetrydError(Exception):
    """Base of everything that the daemon and its command line raise on purpose."""


class SettingsError(TelemetrydError):
    """A setting is unknown or has a value that cannot be; the message names its source."""


class PlaceError(TelemetrydError):
    """A folder cannot be made or written, or a socket cannot be bound."""


class AlreadyServingError(TelemetrydError):
    """Another daemon has this endpoint or this state folder; the message says which process."""


class MissingExtraError(TelemetrydError):
    """A command needs an extra of the package; the message says which `pip install` mends it."""


class ApiKeyError(TelemetrydError):
    """A source of the W&B key cannot be read, or holds what is no key; the message names the source, never the key."""


class KeysError(TelemetrydError):
    """A key file of the daemon's cannot be read or written, or there is no such client; the message names it."""


class InboxError(TelemetrydError):
    """The inbox did not take something."""


class InboxUnavailableError(InboxError):
    """The inbox cannot be read or written now; trying again later may do."""


class InboxCorruptError(InboxError):
    """The inbox's file is damaged: restart the daemon, which moves it aside and begins a new one."""


class UnknownSessionError(InboxError):
    """The session has not said hello to this inbox."""


class SessionClaimError(InboxError):
    """The hello's process, role or run is not the one that opened the session."""


class GapError(InboxError):
    """The batch begins beyond `acked` + 1."""

    def __init__(self, session: str, first: int, acked: int) -> None:
        super().__init__(f"session {session} is kept up to record {acked}; the batch begins at {first}")
        self.acked = acked
