"""Training processes that ended without `finish()`: why, and the post-mortem that is saved with the run.

    process dies ─► exits.py sees it ─► the undertaker adopts what it left ─► its session is lost or ended
                                                                    └─► cause known, or waited for long enough ─► told

A run is not closed before the ends of its processes are told (`may_close`), which takes a few seconds at most. What was
over before this daemon began was told by the one before it, or by nobody.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from client.protocol.messages import Hello
from telemetryd.health.counters import Counters
from telemetryd.health.events import Event, Events
from telemetryd.health.exit_cause import ERROR, UNKNOWN, Cause, Evidence, cause_of
from telemetryd.inbox.progress import Departed, Progress
from telemetryd.inbox.tails import Tails
from telemetryd.limits import EXIT_GRACE_S, POST_MORTEMS_MAX
from telemetryd.sampling.machine import Machine
from telemetryd.sampling.messages import HOST
from telemetryd.settings.rules import BY_NAME
from telemetryd.supervision import post_mortem, training_process
from telemetryd.supervision.exits import Exits
from telemetryd.supervision.post_mortem import Crash
from telemetryd.supervision.teller import Concerned, Teller

log = logging.getLogger(__name__)

RULE = BY_NAME["process_gone"]
_INTERRUPTED = 255
"""The exit code that wandb gives a KeyboardInterrupt: somebody pressed ^C, and knows."""
_decode = msgspec.msgpack.Decoder(Hello).decode

Latest = Mapping[str, Mapping[str, tuple[float, int]]]


@dataclass
class _Death:
    """What was there when a process was seen to be dead."""

    time_ns: int
    latest: Latest = field(default_factory=dict)


class Graves:
    """See the module's head. Runs on the daemon's main thread."""

    def __init__(
        self,
        progress: Progress,
        machine: Machine,
        tails: Tails,
        events: Events,
        counters: Counters,
        teller: Teller,
        poke: Callable[[], None],
        step_of: Callable[[int], int | None],
        stacks_of: Callable[[int], str],
        *,
        told: bool,
        saved: bool,
        exits: Exits | None = None,
    ) -> None:
        """`poke` has what dead processes left looked for soon. `told`: the rule is on. `saved`: post-mortems are.
        Raises InboxError."""
        self._progress = progress
        self._machine = machine
        self._tails = tails
        self._events = events
        self._counters = counters
        self._teller = teller
        self._poke = poke
        self._step_of = step_of
        self._stacks_of = stacks_of
        self._on = told or saved
        self._told, self._saved = told, saved
        self._exits = exits or Exits()
        self._deaths: dict[str, _Death] = {}
        self._scopes: dict[int, frozenset[str]] = {}
        self._done = {departed.session for departed in progress.departed()}
        """Sessions whose end needs no more words."""
        self._since_s: dict[str, float] = {}
        self._sought: set[str] = set()
        self._post_mortems: dict[int, int] = {}

    def renew(self, scopes: Mapping[int, frozenset[str]], now_s: float) -> None:
        """Sessions have changed. `scopes`: what of the machine's samples is of which run. Raises InboxError."""
        if not self._on:
            return
        self._scopes.update(scopes)
        open_sessions = {session: _decode(hello) for session, hello, _ in self._progress.open_sessions()}
        for session, hello in open_sessions.items():
            if hello.role == "train" and session not in self._sought:
                self._sought.add(session)
                process = training_process.find(hello)
                if process is not None:
                    self._exits.watch(session, process, now_s)
        departed = {one.session for one in self._progress.departed()}
        for session in self._sought - open_sessions.keys() - departed:
            self._forget(session)
        self._done &= departed | open_sessions.keys()

    def _forget(self, session: str) -> None:
        self._sought.discard(session)
        self._exits.forget(session)
        self._deaths.pop(session, None)
        self._since_s.pop(session, None)

    def look(self, now_s: float) -> None:
        """See who has died, and tell what can be told of those before. Raises InboxError."""
        if not self._on:
            return
        dead = self._exits.look(now_s)
        if dead:
            latest = self._machine.latest()
            for session in dead:
                self._deaths[session] = _Death(time.time_ns(), latest)
            self._poke()
        if self._deaths or self._since_s:
            self._work(None, now_s)

    def may_close(self, run_id: int, now_s: float) -> bool:
        """Whether everything about the ends of a run's processes is told. Raises InboxError."""
        return not self._on or self._work(run_id, now_s)

    def _work(self, run_id: int | None, now_s: float) -> bool:
        settled = True
        waiting = set()
        for departed in self._progress.departed():
            if departed.session in self._done or (run_id is not None and departed.run_id != run_id):
                continue
            since_s = self._since_s.setdefault(departed.session, now_s)
            cause = self._cause(departed, now_s - since_s)
            if cause is None:
                settled = False
                waiting.add(departed.session)
                continue
            self._done.add(departed.session)
            if is_crash(departed, cause):
                self._tell(departed, cause)
            self._forget(departed.session)
        if run_id is None:  # a session that came back to life is waited for no more
            for session in [session for session in self._since_s if session not in waiting]:
                del self._since_s[session]
        return settled

    def _cause(self, departed: Departed, waited_s: float) -> Cause | None:
        """Why the process ended; None while better is to come."""
        if departed.end.state == "ended":
            evidence = self._exits.evidence(departed.session) or Evidence()
            return cause_of(replace(evidence, status=None, session_code=departed.end.exit_code or 0))
        evidence = self._exits.evidence(departed.session) or Evidence()
        over, code = self._progress.launch_ended(departed.launch)
        cause = cause_of(replace(evidence, launcher_code=code))
        if cause.kind != UNKNOWN or waited_s >= (EXIT_GRACE_S if over else 2 * EXIT_GRACE_S):
            return cause
        return None

    def _tell(self, departed: Departed, cause: Cause) -> None:
        hello = _decode(departed.hello)
        death = self._deaths.get(departed.session) or _Death(time.time_ns(), self._machine.latest())
        who = f"process {hello.pid}" + (f" on {hello.host}" if hello.host else "")
        event = Event(
            death.time_ns, RULE.name, f"{who} {cause.text}", cause.advice, True, run=departed.key, rank=hello.rank,
            step=self._step_of(departed.run_id),
        )  # fmt: skip
        files = self._files(departed, hello, cause, death, event)
        if files:
            self._counters.add("post_mortems")
            folder = next(iter(files)).rpartition("/")[0]
            found = f"what came before is in the run's files, {folder}"
            event = replace(event, advice=f"{event.advice}; {found}" if event.advice else found)
        concerned = Concerned(departed.run_id, departed.key, hello.rank)
        if self._told:
            self._teller.raised(RULE, departed.session, event, [concerned], lasts=False, files=files)
        elif files:
            self._teller.save(concerned.run_id, files)

    def _files(self, departed: Departed, hello: Hello, cause: Cause, death: _Death, event: Event) -> dict[str, bytes]:
        run_id = departed.run_id
        if not self._saved or self._post_mortems.get(run_id, 0) >= POST_MORTEMS_MAX:
            return {}
        self._post_mortems[run_id] = self._post_mortems.get(run_id, 0) + 1
        scopes = self._scopes.get(run_id, frozenset((HOST, f"run:{run_id}")))
        crash = Crash(
            departed.key, death.time_ns, cause, hello.pid, hello.host, hello.rank, event.step,
            self._tails.text(self._progress.sessions_of(run_id)), self._stacks_of(run_id),
            [one for one in self._events.all() if one.run in (None, departed.key)],
            self._machine.ring(scopes=scopes),
            {scope: values for scope, values in death.latest.items() if scope in scopes},
        )  # fmt: skip
        folder = post_mortem.folder(crash)
        return {f"{folder}/{name}": content for name, content in post_mortem.files(crash).items()}

    def close(self) -> None:
        """Watch nobody any more."""
        self._exits.close()


def is_crash(departed: Departed, cause: Cause) -> bool:
    """Whether an end is one to speak of: no `finish()`, whatever its exit code, and not what a person did with ^C."""
    if departed.end.state == "ended":
        return departed.end.implicit and cause.kind == ERROR and cause.exit_code != _INTERRUPTED
    return cause.signal != signal.SIGINT
