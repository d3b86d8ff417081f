"""Random kills and stops of all four processes while training logs; the same seed gives the same schedule.

    python -m tests.chaos.random_schedule --seeds 100 --seconds 20
    python -m tests.chaos.random_schedule --first 17 --seeds 1 --seconds 20 --online     (one seed again)

Invariants of a schedule: every stopped process is continued, every killed daemon started again; the training process is
killed at most once, as the last event. Rows whose `log` returned must be in W&B, each once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.errors import NoAnswerError
from tests.chaos.matrix import LONGEST_CALL_MS
from tests.standin.fixture import running
from tests.support.processes import wait_until
from tests.support.trainer import IMAGE_EVERY
from tests.support.world import World

ROWS_PER_S = 300.0
EVENTS_PER_S = 0.6
"""A worker needs about two seconds to come back: some faults hit it on its way up, most while it works."""
TARGETS = ("daemon", "daemon", "worker", "worker", "core", "core", "trainer")
STOP_S = (0.2, 4.0)
EXTRA = ("padding", "image")
"""What rows have besides numbers: names of tests.support.trainer.EXTRA."""
SETTLE_DEADLINE_S = 150.0
STOP_DEADLINE_S = 40.0


@dataclass(frozen=True)
class Event:
    """At `at_s` the target gets the signal; `for_s`: until it is continued, or a killed daemon started again."""

    at_s: float
    target: str
    signum: signal.Signals
    for_s: float

    def __str__(self) -> str:
        return f"{self.at_s:5.1f} s {self.signum.name} to {self.target} ({self.for_s:.1f} s)"


def schedule(seed: int, seconds: float) -> list[Event]:
    """The events of a seed. Pure."""
    dice = random.Random(f"{seed} {seconds}")
    events = []
    for _ in range(max(2, round(seconds * EVENTS_PER_S))):
        target = dice.choice(TARGETS)
        kinds = [signal.SIGSTOP] if target == "trainer" else [signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]
        signum = dice.choice([*kinds, signal.SIGTERM] if target in ("daemon", "worker") else kinds)
        events.append(Event(dice.uniform(0.3, seconds), target, signum, dice.uniform(*STOP_S)))
    if dice.random() < 0.5:
        events.append(Event(seconds, "trainer", signal.SIGKILL, 0.0))
    return sorted(events, key=lambda event: event.at_s)


def play(world: World, seed: int, seconds: float) -> list[str]:
    """Play a seed in a world; what was wrong, a sentence each."""
    world.rows = int(seconds * ROWS_PER_S)
    world.start_daemon("--drain-timeout", "2")
    world.start_trainer(ROWS_PER_S, *(f"--with={name}" for name in EXTRA))
    world.wait_logged(1)
    begun_s = time.monotonic()
    events = schedule(seed, seconds)
    undo: list[tuple[float, list[int]]] = []
    for event in events:
        _undo_until(world, undo, begun_s + event.at_s)
        pids = _signal(world, event)
        undo.append((begun_s + event.at_s + event.for_s, pids if event.signum == signal.SIGSTOP else []))
    _undo_until(world, undo, float("inf"))
    assert world.trainer is not None
    world.trainer.wait(seconds + 60)
    world.wait_settled(SETTLE_DEADLINE_S)
    killed = any(e.target == "trainer" and e.signum == signal.SIGKILL for e in events)
    return [said for check in CHECKS for said in check(world, killed)]


def _signal(world: World, event: Event) -> list[int]:
    """Send it, if the target is there: it may be dead at the moment."""
    if event.target in ("worker", "core"):
        pids = world.worker_pids() if event.target == "worker" else world.core_pids()
    else:
        process = world.daemon if event.target == "daemon" else world.trainer
        pids = [process.pid] if process is not None and process.running() else []
    world.resume(pids if event.signum != signal.SIGSTOP else [])  # a stopped process does not see a SIGTERM
    return world.send(pids, event.signum)


def _undo_until(world: World, undo: list[tuple[float, list[int]]], end_s: float) -> None:
    """Wait until `end_s`, continuing what is stopped and starting a dead daemon when their time has come."""
    while undo and min(undo)[0] <= end_s:
        due_s, pids = min(undo)
        undo.remove((due_s, pids))
        time.sleep(max(0.0, due_s - time.monotonic()))
        world.resume(pids)
        if not world.daemon_running():
            world.spawn_daemon()
    if end_s != float("inf"):
        time.sleep(max(0.0, end_s - time.monotonic()))
    elif not _daemon_stays(world):
        world.start_daemon()


def _daemon_stays(world: World) -> bool:
    """Whether the daemon serves and goes on; the end of one that was told to stop is waited for."""

    def decided() -> bool:
        return not world.daemon_running() or _takes_records(world)

    wait_until(
        decided, STOP_DEADLINE_S, lambda: f"the daemon to serve or to end\n{world.daemon and world.daemon.told()}"
    )
    return world.daemon_running()


def _takes_records(world: World) -> bool:
    try:
        return bool(world.status()["components"]["reception"]["state"] == "ok")
    except NoAnswerError:
        return False


def _every_row_once(world: World, killed: bool) -> list[str]:
    outcome = world.outcome()
    account = outcome.account
    said = []
    if outcome.missing:
        said.append(f"{len(outcome.missing)} of {account.logged} rows are missing: {outcome.missing[:10]} …")
    if outcome.doubled:
        said.append(f"{len(outcome.doubled)} rows are doubled: {outcome.doubled[:10]} …")
    if account.errors:
        said.append(f"{account.errors} exceptions reached training")
    if account.longest_own_ms >= LONGEST_CALL_MS:  # what other processes took of the cores is not the call's doing
        said.append(f"the longest log() took {account.longest_own_ms:.1f} ms, {account.longest_ms:.1f} by the clock")
    if not killed and account.logged != world.rows:
        said.append(f"training logged {account.logged} of {world.rows} rows")
    return said


def _every_image_is_there(world: World, killed: bool) -> list[str]:
    """Each row that was logged with an image names a file, which is there and shows it."""
    images = world.images_in_wandb()
    returned = world.account().returned
    wanted = [number for number in returned if number % IMAGE_EVERY == 0]
    said = []
    if without := [number for number in wanted if number not in images]:
        said.append(f"{len(without)} of {len(wanted)} images are not in their rows: {without[:10]} …")
    if absent := [number for number, content in images.items() if content is None]:
        said.append(f"{len(absent)} of {len(images)} image files are not there: {absent[:10]} …")
    wrong = [number for number, content in images.items() if content and _colour(content) != number % 251]
    if wrong:
        said.append(f"{len(wrong)} images show another row's: {wrong[:10]} …")
    return said


def _colour(content: bytes) -> int:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return int(image.getpixel((0, 0))[0])


Check = Callable[[World, bool], list[str]]
CHECKS: list[Check] = [_every_row_once, _every_image_is_there]
"""What must hold once all is settled. Each is given the world and whether training was killed, and says what is wrong,
a sentence each."""


def replay_command(seed: int, seconds: float, *, online: bool) -> str:
    """What a person types to play a seed again."""
    return (
        f"python -m tests.chaos.random_schedule --first {seed} --seeds 1 --seconds {seconds:g}"
        f"{' --online' if online else ''}"
    )


def play_seed(folder: Path, seed: int, seconds: float, *, online: bool) -> None:
    """Raises AssertionError, with the schedule and the command that plays it again, when a row is lost or doubled."""
    with contextlib.ExitStack() as stack:
        world = World(folder, stack.enter_context(running()) if online else None)
        stack.callback(world.close)
        try:
            said = play(world, seed, seconds)
        except AssertionError as error:
            said = [str(error)]
        if said:
            events = "\n".join(map(str, schedule(seed, seconds)))
            told = "\n".join(said)
            again = replay_command(seed, seconds, online=online)
            raise AssertionError(f"seed {seed}:\n{told}\n{events}\nplay it again: {again}\n{world.worker_logs()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--online", action="store_true", help="against the W&B stand-in")
    arguments = parser.parse_args()
    failed = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        folder = Path(tempfile.mkdtemp(prefix="td-", dir="/tmp"))
        try:
            play_seed(folder, seed, arguments.seconds, online=arguments.online)
            print(f"seed {seed}: every row once", flush=True)
        except AssertionError as error:
            failed.append(seed)
            print(error, flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{arguments.seeds - len(failed)} of {arguments.seeds} seeds passed; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
