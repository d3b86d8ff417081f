"""A node's sessions to the run's daemon, one for each run that trains here: the client's own, role "node".

    samples, events ──► Session.record ──► journal (bounded) ──► the client's sender ──► inbox of the run's daemon

Opened at a run's first sample or event, ended when nothing of the run trains here any more. What a full journal does
not take is counted, and told with the next record of its kind that finds room.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from pathlib import Path

import telemetryd
from client.policy import Policy
from client.protocol.messages import Hello, RunSpec
from client.protocol.records import End, Event, Sample
from client.session import Session
from telemetryd.node.limits import JOURNAL_MAX_BYTES, LEAVING_MAX, MEMORY_MAX_BYTES
from telemetryd.runs import control

log = logging.getLogger(__name__)

_POLICY = Policy(spool_max_bytes=JOURNAL_MAX_BYTES, memory_max_bytes=MEMORY_MAX_BYTES, stop_signal=None)


class Streams:
    """See the module's head. Used by one thread."""

    def __init__(self, endpoint: str, spool_dir: Path, host: str) -> None:
        self._endpoint = endpoint
        self._spool_dir = spool_dir
        self._host = host
        self._open: dict[str, Session] = {}
        self._leaving: list[Session] = []
        self._lost: Counter[str] = Counter()
        """Values, by run."""
        self._untold: Counter[str] = Counter()
        """Events, by run."""

    def give(self, spec: RunSpec, samples: control.Samples) -> bool:
        """Add samples to a run; False when its journal is full."""
        key, session = spec.key(), self._session(spec)
        lost = self._lost[key]
        sample = Sample(samples.time_ns, samples.values, self._host, session.clock_offset_ns, lost)
        if not session.record(sample):
            self._lost[key] += len(samples.values)
            return False
        del self._lost[key]
        return True

    def tell(self, spec: RunSpec, event: Event) -> bool:
        """Tell a run what happened here; False when its journal is full."""
        key, session = spec.key(), self._session(spec)
        event.node, event.offset_ns, event.lost = self._host, session.clock_offset_ns, self._untold[key]
        if not session.record(event):
            self._untold[key] += 1
            return False
        del self._untold[key]
        return True

    def _session(self, spec: RunSpec) -> Session:
        key = spec.key()
        session = self._open.get(key)
        if session is None:
            session = self._open[key] = Session.open(
                self._hello(spec), endpoint=self._endpoint, spool_dir=self._spool_dir, policy=_POLICY
            )
            log.info("samples_for run=%s session=%s", key, session.hello.session)
        return session

    def _hello(self, spec: RunSpec) -> Hello:
        return Hello(
            os.urandom(16).hex(),
            role="node",
            run=RunSpec(spec.run_id, spec.entity, spec.project),
            pid=os.getpid(),
            host=self._host,
            start_time_ns=time.time_ns(),
            client_version=telemetryd.__version__,
        )

    def keep(self, keys: set[str]) -> None:
        """Nothing but these runs trains here any more: end the sessions of the others."""
        for key in self._open.keys() - keys:
            self._end(key)
        self._tend()

    def _end(self, key: str) -> None:
        session = self._open.pop(key)
        if lost := self._lost.pop(key, 0):
            session.record(Sample(time.time_ns(), {}, self._host, lost=lost))
        if untold := self._untold.pop(key, 0):
            session.record(Event(time.time_ns(), "", "", self._host, known=True, lost=untold))
        session.record(End(time.time_ns()))
        self._leaving.append(session)
        log.info("samples_end run=%s session=%s", key, session.hello.session)

    def _tend(self) -> None:
        """Let go of ended sessions of which the daemon has everything."""
        for session in list(self._leaving):
            if session.wait_acked(0):
                session.close(0)
                self._leaving.remove(session)
        while len(self._leaving) > LEAVING_MAX:
            self._close(self._leaving.pop(0), 0)

    def _close(self, session: Session, timeout_s: float) -> bool:
        done = session.close(timeout_s)
        if not done:
            log.warning("samples_left session=%s folder=%s; `telemetryd push` ships them", session.hello.session,
                        self._spool_dir / session.hello.session)  # fmt: skip
        return done

    def close(self, timeout_s: float) -> bool:
        """End all sessions within `timeout_s`; whether the daemon has everything."""
        end_s = time.monotonic() + timeout_s
        for key in list(self._open):
            self._end(key)
        leaving, self._leaving = self._leaving, []
        left = [session for session in leaving if not self._close(session, max(0.0, end_s - time.monotonic()))]
        return not left
