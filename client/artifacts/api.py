"""`client.Api()`: artifacts of W&B without a run, through the daemon."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from client import places
from client.artifacts.artifact import Artifact
from client.artifacts.remote import Remote
from client.errors import NoAnswerError, UnsupportedError, UsageError
from client.limits import ARTIFACT_USE_TIMEOUT_S
from client.protocol import frames
from client.protocol.errors import ProtocolError
from client.protocol.messages import Answer, Ask
from client.sender import Question

if TYPE_CHECKING:
    from client.connection import Connection


class Api:
    """wandb's Api as far as artifacts go: `Api().artifact("entity/project/name:alias").download()`.

    `overrides` gives "entity" and "project" for names that have none. The daemon holds the key: `api_key` is ignored.
    """

    def __init__(
        self,
        overrides: dict[str, Any] | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
    ) -> None:
        given = overrides or {}
        self._timeout_s = ARTIFACT_USE_TIMEOUT_S if timeout is None else timeout
        self._remote = Remote(DirectChannel(), str(given.get("entity") or ""), str(given.get("project") or ""))

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """The version that "entity/project/name:alias" names. Raises ValueError, CommError, NoAnswerError."""
        return self._remote.find(name, type, self._timeout_s)

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Whether there is such a version. Raises CommError, NoAnswerError."""
        try:
            self.artifact(name, type)
        except ValueError:
            return False
        return True

    def artifacts(self, type_name: str, name: str, per_page: int = 50, tags: list[str] | None = None) -> list[Artifact]:
        """The versions of "entity/project/name", newest first."""
        found = self._remote.ask("versions", self._timeout_s, name=name, type=type_name)["infos"]
        versions = [Artifact._of(info, self._remote) for info in found]
        return [version for version in versions if not tags or set(tags) <= set(version.tags)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UnsupportedError(
            f"Api().{name} is not supported by telemetryd: artifacts are; use wandb.Api() where there is a key"
        )


class DirectChannel:
    """Questions on a connection of their own, one thread at a time. Opened at the first, closed with the object."""

    def __init__(self) -> None:
        self._endpoint = places.endpoint()
        self._connection: Connection | None = None
        self._asked: dict[int, Question] = {}
        self._next = 1
        self._lock = threading.Lock()

    def post(self, kind: str, args: dict[str, Any]) -> Question:
        """Send a question. Raises UsageError where the endpoint is none, NoAnswerError where nobody is connected."""
        with self._lock:
            question = _DirectQuestion(self, kind, args)
            self._send(question)
            return question

    def _send(self, question: Question) -> None:
        if self._connection is None:
            problem = places.endpoint_problem(self._endpoint)
            if problem:
                raise UsageError(problem)
            from client.connection import Connection

            self._connection = Connection(self._endpoint)
        message = frames.pack(Ask(self._next, question.kind, question.args))
        end_s = time.monotonic() + 5.0
        while not self._connection.send(message):
            if time.monotonic() >= end_s:
                raise NoAnswerError(f"no daemon answers at {self._endpoint}; start one with `telemetryd serve`")
            time.sleep(0.005)
        self._asked[self._next] = question
        self._next += 1

    def pump(self, question: Question, timeout_s: float) -> None:
        """Receive until the question is answered, or time is over."""
        end_s = time.monotonic() + timeout_s
        with self._lock:
            while not question.answered.is_set() and (left_s := end_s - time.monotonic()) > 0:
                assert self._connection is not None
                if not self._connection.wait(left_s):
                    return
                try:
                    message = self._connection.receive()
                except ProtocolError as error:
                    raise NoAnswerError(f"what answers at {self._endpoint} is no daemon: {error}") from error
                if isinstance(message, Answer) and (asked := self._asked.pop(message.id, None)) is not None:
                    asked.answer = message
                    asked.answered.set()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __del__(self) -> None:
        connection = self.__dict__.get("_connection")
        if connection is not None:
            connection.close()


class _DirectQuestion(Question):
    def __init__(self, channel: DirectChannel, kind: str, args: dict[str, Any]) -> None:
        super().__init__(kind, args)
        self._channel = channel

    def result(self, timeout_s: float) -> dict[str, Any]:
        """See Question.result."""
        self._channel.pump(self, timeout_s)
        return super().result(0)
