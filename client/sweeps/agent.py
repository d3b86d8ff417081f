"""An agent: draws trials from W&B and runs them one after another, until the sweep is over or too many have failed.

    heartbeat({}) ──run──► trial ──ended──► heartbeat({}) …
         │                   └── every 5 s: heartbeat({run}) ──stop──► the trial is told to stop; the agent goes on
         └──exit──► the end

Invariants
* A trial that fails, or is stopped, does not end the agent. `Rules` say when many failures do.
* W&B, or the daemon, being away does not end the agent either: it asks again at the next heartbeat.
* While a trial runs, nothing but its end, a command and its user ends it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from client.errors import CommError, NoAnswerError, SweepNotFoundError
from client.limits import (
    SWEEP_FLAPPING_FAILURES,
    SWEEP_FLAPPING_S,
    SWEEP_HEARTBEAT_S,
    SWEEP_INITIAL_FAILURES,
    SWEEP_KILL_DELAY_S,
)
from client.sweeps.path import SweepPath
from client.sweeps.service import Order, SweepService
from client.term import termerror, termlog, termwarn


class Leave(BaseException):
    """The agent is told to end at once, as by SIGTERM: its trial is stopped."""


class Trial(Protocol):
    """One run of the sweep, begun."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; whether it has."""

    def stop(self) -> None:
        """Tell it to stop."""

    def kill(self) -> None:
        """End it, whatever it does; where that cannot be, tell it again to stop."""

    def failure(self) -> str | None:
        """Why it failed; None when it did not. Asked after its end."""


def number_of(environ: Mapping[str, str], name: str, default: float) -> float:
    """A variable of wandb's that holds a number; the default where it holds none, as in wandb."""
    try:
        return float(environ[name])
    except (KeyError, ValueError):
        return default


@dataclass
class Rules:
    """When failures end the agent: wandb's rules. Pure; times in seconds."""

    started_s: float
    check_flapping: bool = True
    initial_max: int = SWEEP_INITIAL_FAILURES
    consecutive_max: float = math.inf
    ended: int = 0
    failed: int = 0
    consecutive: int = 0

    @classmethod
    def of(cls, environ: Mapping[str, str], consecutive_max: int | None, now_s: float) -> Rules:
        """As the environment says."""
        return cls(
            now_s,
            environ.get("WANDB_AGENT_DISABLE_FLAPPING") != "true",
            int(number_of(environ, "WANDB_AGENT_MAX_INITIAL_FAILURES", SWEEP_INITIAL_FAILURES)),
            math.inf if consecutive_max is None else consecutive_max,
        )

    def trial_ended(self, failed: bool, now_s: float) -> tuple[str, str] | None:
        """Count a trial; why the agent must end and how that is prevented, or None."""
        self.ended += 1
        if not failed:
            self.consecutive = 0
            return None
        self.failed += 1
        self.consecutive += 1
        if self.consecutive >= self.consecutive_max:
            return f"Detected {self.consecutive} consecutive failed runs, killing sweep.", ""
        if self.check_flapping and now_s - self.started_s < SWEEP_FLAPPING_S and self.failed >= SWEEP_FLAPPING_FAILURES:
            return (
                f"Detected {self.failed} failed runs in the first {SWEEP_FLAPPING_S:g} seconds, killing sweep.",
                "To disable this check set WANDB_AGENT_DISABLE_FLAPPING=true",
            )
        if self.failed == self.ended and self.failed >= self.initial_max:
            return (
                f"Detected {self.failed} failed runs in a row at start, killing sweep.",
                "To change this value set WANDB_AGENT_MAX_INITIAL_FAILURES=val",
            )
        return None


class Agent:
    """See the module's head. `begin` starts the trial that an order asks for; its OSError ends the agent."""

    def __init__(
        self,
        service: SweepService,
        path: SweepPath,
        begin: Callable[[Order], Trial],
        *,
        count: int | None,
        rules: Rules,
        meanwhile: Callable[[], object] = lambda: None,
        heartbeat_s: float = SWEEP_HEARTBEAT_S,
    ) -> None:
        """`meanwhile` is called once a heartbeat and before each trial, to look after what trials need."""
        self._service = service
        self._path = path
        self._begin = begin
        self._count = count
        self._rules = rules
        self._meanwhile = meanwhile
        self._heartbeat_s = heartbeat_s
        self._kill_delay_s = number_of(os.environ, "WANDB_AGENT_KILL_DELAY", SWEEP_KILL_DELAY_S)
        self._over = False
        self._unheard = False  # the last heartbeat had no answer
        self._interrupts = 0
        self._agent = ""

    def run(self) -> bool:
        """Until the sweep is over; False when it ended because of failures.

        Raises CommError where W&B or the daemon does not let it begin.
        """
        self._agent = self._service.register(self._path)
        while not self._over:
            try:
                order = self._next()
            except (KeyboardInterrupt, Leave):
                termlog("Sweep Agent: Exiting.")
                return True
            if order is None:
                return True
            trial = self._begin(order)
            stopped = self._see_to_its_end(order, trial)
            why = trial.failure()
            if stopped:
                termlog(f"Run {order.run_id} was stopped.")
            elif why is not None:
                termerror(f"Run {order.run_id} errored: {why}")
            verdict = self._rules.trial_ended(why is not None and not stopped, time.monotonic())
            if verdict is not None:
                termerror(verdict[0])
                if verdict[1]:
                    termlog(verdict[1])
                return False
            self._over |= self._count is not None and self._rules.ended >= self._count
        return True

    def _next(self) -> Order | None:
        """The next trial's order; None when the sweep is over."""
        said = False
        while True:
            self._meanwhile()
            for order in self._heartbeat():
                if order.kind in ("run", "resume"):
                    termlog(f"Agent Starting Run: {order.run_id} with config:")
                    for name, given in order.config.items():
                        termlog(f"\t{name}: {given.get('value')}")
                    return order
                if order.kind == "exit":
                    termlog("Sweep Agent: Exiting.")
                    return None
            if self._over:
                return None
            if not said and not self._unheard:
                termlog("Sweep Agent: Waiting for job.")
                said = True
            time.sleep(self._heartbeat_s)

    def _heartbeat(self, *running: str) -> list[Order]:
        try:
            orders = self._service.heartbeat(self._path, self._agent, running)
        except SweepNotFoundError:
            self._over = True
            also = "; its run goes on to its end" if running else ""
            termerror(f"Sweep was deleted or agent was not found{also}. Stopping sweep.")
            return []
        except (CommError, NoAnswerError) as error:
            if not self._unheard:
                termwarn(f"The sweep's agent gets no answer, and asks again: {error}")
            self._unheard = True
            return []
        self._unheard = False
        return orders

    def _see_to_its_end(self, order: Order, trial: Trial) -> bool:
        """Wait for a trial, with heartbeats; whether it was told to stop."""
        stopped_s: float | None = None
        while True:
            try:
                if trial.wait(self._heartbeat_s):
                    return stopped_s is not None
                if stopped_s is not None and time.monotonic() - stopped_s >= self._kill_delay_s:
                    trial.kill()
                self._meanwhile()
                if self._over:
                    continue
                for command in self._heartbeat(order.run_id):
                    if command.kind == "exit":
                        self._over = True
                    is_stop = command.kind == "exit" or (command.kind == "stop" and command.run_id == order.run_id)
                    if is_stop and stopped_s is None:
                        termlog(f"Stopping run {order.run_id}.")
                        trial.stop()
                        stopped_s = time.monotonic()
            except (KeyboardInterrupt, Leave) as told:
                self._over = True
                stopped_s = self._interrupted(trial, told, stopped_s)

    def _interrupted(self, trial: Trial, told: BaseException, stopped_s: float | None) -> float | None:
        """wandb's three steps: ^C waits for the run, the next stops it, the next kills it. SIGTERM stops at once."""
        self._interrupts += 1
        if isinstance(told, KeyboardInterrupt) and self._interrupts == 1:
            termlog("Ctrl + C detected. Waiting for the run to end. Press it again to stop it.")
            return stopped_s
        if stopped_s is None:
            termlog("Stopping the run. Send the signal again to kill it.")
            trial.stop()
            return time.monotonic()
        trial.kill()
        return stopped_s
