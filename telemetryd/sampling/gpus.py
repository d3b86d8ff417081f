"""All GPUs: finds the driver, gives each wanted device a lane, waits for events, and begins anew when the driver does.

    no driver ──said once, looked for now and then──► session ──driver went away, or a lost card is looked for──► again
    session: NVML initialised; lanes of the wanted devices; the event thread

Runs on a thread of its own, because already the driver's initialisation may hang. Lanes that hang are left behind when
a session ends; what they still have to say is not heard.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from telemetryd.sampling import gpu_devices
from telemetryd.sampling.errors import DriverError, LostError, NoDriverError, NvmlError
from telemetryd.sampling.gpu import Gpu
from telemetryd.sampling.gpu_devices import Found
from telemetryd.sampling.gpu_events import GpuEvents
from telemetryd.sampling.lane import Lane
from telemetryd.sampling.limits import (
    HUNG_NOTICE_S,
    RETRY_FIRST_S,
    RETRY_MAX_S,
    RETRY_NO_DRIVER_S,
    RING_PERIOD_S,
    STOP_WAIT_S,
)
from telemetryd.sampling.messages import Condition, Devices, Event, Reading, Report, Watch
from telemetryd.sampling.nvml import Nvml
from telemetryd.sampling.schedule import Due
from telemetryd.sampling.visible import visible

log = logging.getLogger(__name__)

PART = "gpu"
FAMILIES = ("gpu", "gpu_health", "gpu_profile", "gpu_process")
_DRIVER_ADVICE = "nvidia-smi and dmesg tell why; sampling goes on by itself when the driver is back"
_LOST_ADVICE = "dmesg tells why (look for XID 79); reset the GPU or restart the machine"


@dataclass
class _Session:
    """One life of the driver."""

    found: list[Found]
    news: queue.SimpleQueue[Exception | str | None] = field(default_factory=queue.SimpleQueue)
    """What ends or changes it: a driver's error, the UUID of a lost device, None to look at what is wanted."""
    lanes: dict[str, tuple[Lane, Gpu]] = field(default_factory=dict)
    over: bool = False


class Gpus:
    """See the module's head. `trees` gives the process numbers of each run's tree, as last seen."""

    def __init__(
        self,
        periods_s: Mapping[str, float],
        emit: Callable[[Report], None],
        trees: Callable[[], Mapping[int, frozenset[int]]],
    ) -> None:
        self._periods_s = {name: periods_s[name] for name in FAMILIES}
        self._emit = emit
        self._trees = trees
        self._nvml = Nvml()
        self._watch = Watch()
        self._session: _Session | None = None
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._lost: dict[str, float] = {}
        """When devices were lost, by UUID."""
        self._told_absent = False
        self._driver_lost = False
        self._thread = threading.Thread(target=self._main, name="gpus", daemon=True)

    def start(self) -> None:
        """Begin to look for the driver."""
        self._thread.start()

    def watch(self, watch: Watch) -> None:
        """Other devices may be wanted from now on."""
        self._watch = watch
        self._wake.set()
        if (session := self._session) is not None:
            session.news.put(None)

    def stop(self) -> None:
        """End it, without waiting."""
        self._stopped.set()
        self._wake.set()
        if (session := self._session) is not None:
            session.news.put(None)

    def hung(self, now_s: float) -> dict[str, float]:
        """Calls that have not returned for long: seconds by what hangs ("GPU-…: nvmlDeviceGetTemperature")."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        found: dict[str, float] = {}
        for thread, (function, since_s) in list(self._nvml.busy.items()):
            if now_s - since_s >= HUNG_NOTICE_S and thread in names:
                found[f"{names[thread].removeprefix('lane ')}: {function}"] = now_s - since_s
        return found

    # The thread.

    def _main(self) -> None:
        pause_s = RETRY_FIRST_S
        while not self._stopped.is_set():
            began_s = time.monotonic()
            try:
                self._live()
            except NoDriverError as error:
                self._say_absent(error)
                pause_s = RETRY_MAX_S if self._driver_lost else RETRY_NO_DRIVER_S
                if self._driver_lost:
                    pause_s = min(RETRY_MAX_S, max(RETRY_FIRST_S, (time.monotonic() - self._lost_at_s) / 2))
            except DriverError as error:
                self._say_lost(error)
                pause_s = RETRY_FIRST_S
            except NvmlError as error:
                self._emit(Condition(PART, f"NVML does not work: {error}"))
                pause_s = min(RETRY_MAX_S, 2 * pause_s)
            except Exception:
                log.exception("gpus_failed")
                pause_s = min(RETRY_MAX_S, 2 * pause_s)
            else:
                pause_s = RETRY_FIRST_S  # a lost card is looked for
            if time.monotonic() - began_s > RETRY_MAX_S:
                pause_s = RETRY_FIRST_S
            self._stopped.wait(pause_s)

    _lost_at_s = 0.0

    def _say_absent(self, error: NoDriverError) -> None:
        if not self._told_absent and not self._driver_lost:
            self._told_absent = True
            log.info("no_gpus reason=%r", str(error))
            self._emit(Condition(PART, f"no NVIDIA driver ({error}): the host is sampled alone", wanting=False))
            self._emit(Devices())

    def _say_lost(self, error: DriverError) -> None:
        if not self._driver_lost:
            self._driver_lost, self._lost_at_s = True, time.monotonic()
            message = f"the NVIDIA driver went away ({error})"
            log.warning("driver_lost reason=%r", str(error))
            self._emit(Event(time.time_ns(), "driver_lost", message, advice=_DRIVER_ADVICE, fatal=True))
            self._emit(Condition(PART, message))

    def _live(self) -> None:
        """One session, until a lost card is to be looked for. Raises NvmlError."""
        self._nvml.start()
        session: _Session | None = None
        events: GpuEvents | None = None
        try:
            found = gpu_devices.find(self._nvml)
            driver, cuda = gpu_devices.versions(self._nvml)
            session = self._session = _Session(found)
            self._say_found(session, driver, cuda)
            events = GpuEvents(self._nvml, found, self._event, session.news.put)
            events.start()
            self._serve(session, driver, cuda)
        finally:
            self._session = None
            if session is not None:
                self._close(session, events)
            self._nvml.stop()

    def _say_found(self, session: _Session, driver: str | None, cuda: str | None) -> None:
        if self._driver_lost:
            self._driver_lost = False
            log.info("driver_back version=%s", driver)
            self._emit(Event(time.time_ns(), "driver_back", f"the NVIDIA driver is back, version {driver}"))
        self._emit(Devices([one.device for one in session.found], driver, cuda))
        there = {one.device.uuid for one in session.found}
        for uuid in there & self._lost.keys():
            del self._lost[uuid]
            self._emit(Event(time.time_ns(), "gpu_back", "the GPU answers again", uuid))
        self._told_absent = False
        self._emit(Condition(PART, self._lost_words()))

    def _lost_words(self) -> str | None:
        return f"lost: {', '.join(sorted(self._lost))}" if self._lost else None

    def _serve(self, session: _Session, driver: str | None, cuda: str | None) -> None:
        """Keep lanes for what is wanted; returns when a lost card is due to be looked for, or at the end."""
        absent: dict[str, list[str]] = {}
        self._adjust(session)
        while not self._stopped.is_set():
            wait_s = self._until_next_look() if self._lost else HUNG_NOTICE_S
            try:
                news = session.news.get(timeout=wait_s)
            except queue.Empty:
                if self._lost:
                    return
                news = None
            if isinstance(news, LostError):
                continue  # of the event thread; the lane notices for itself
            if isinstance(news, Exception):
                raise news
            if news is not None:
                self._lose(session, news)
            self._adjust(session)
            now = {uuid: gpu.absent for uuid, (_, gpu) in session.lanes.items()}
            if now != absent:
                absent = now
                for one in session.found:
                    one.device.absent = absent.get(one.device.uuid, one.device.absent)
                self._emit(Devices([one.device for one in session.found], driver, cuda))

    def _until_next_look(self) -> float:
        """The longer a card has been lost, the seldomer it is looked for: others' sampling pauses each time."""
        newest_s = time.monotonic() - max(self._lost.values())
        return min(RETRY_MAX_S, max(RETRY_FIRST_S, newest_s))

    def _lose(self, session: _Session, uuid: str) -> None:
        lane, gpu = session.lanes.pop(uuid)
        lane.stop()
        gpu.close()
        if uuid not in self._lost:
            self._lost[uuid] = time.monotonic()
            log.warning("gpu_lost uuid=%s", uuid)
            self._emit(Event(time.time_ns(), "gpu_lost", "the GPU does not answer any more: it is lost", uuid, None,
                             _LOST_ADVICE, fatal=True))  # fmt: skip
            self._emit(Condition(PART, self._lost_words()))
        session.found = [one for one in session.found if uuid not in (one.device.uuid, one.device.parent)]

    def wanted(self, session: _Session) -> set[str]:
        """UUIDs of the devices that are to be sampled."""
        devices = [one.device for one in session.found]
        if self._watch.all_gpus:
            return {device.uuid for device in devices}
        shown: set[str] = set()
        for target in self._watch.targets:
            shown |= {device.uuid for device in visible(devices, target.visible, target.order)}
        return shown

    def _adjust(self, session: _Session) -> None:
        wanted = self.wanted(session)
        for uuid in session.lanes.keys() - wanted:
            session.lanes.pop(uuid)[0].stop()
        for one in session.found:
            uuid = one.device.uuid
            if uuid in wanted and uuid not in session.lanes:
                gpu = Gpu(self._nvml, one.handle, one.device, one.card)
                lane = Lane(uuid, self._periods_s, RING_PERIOD_S, self._reader(session, gpu), (LostError, DriverError),
                            self._ender(session, uuid))  # fmt: skip
                session.lanes[uuid] = (lane, gpu)
                lane.start()

    def _ender(self, session: _Session, uuid: str) -> Callable[[Exception], None]:
        def ended(error: Exception) -> None:
            session.news.put(uuid if isinstance(error, LostError) else error)

        return ended

    def _reader(self, session: _Session, gpu: Gpu) -> Callable[[Due], None]:
        uuid = gpu.device.uuid

        def read(due: Due) -> None:
            now_ns = time.time_ns()
            values = gpu.read(due.families, ring=due.ring)
            if session.over:
                return
            self._emit(Reading(now_ns, f"gpu:{uuid}", values, sorted(due.families)))
            if "gpu_process" in due.families:
                self._read_processes(gpu, now_ns)

        return read

    def _read_processes(self, gpu: Gpu, now_ns: int) -> None:
        trees = self._trees()
        if not trees:
            return
        memory, utilization = gpu.memory_by_process(), gpu.utilization_by_process()
        for run, pids in trees.items():
            values = _of_processes(pids, memory, utilization, gpu.device.uuid)
            if values:
                self._emit(Reading(now_ns, f"run:{run}", values, ["gpu_process"]))

    def _event(self, event: Event) -> None:
        session = self._session
        wanted = self.wanted(session) if session is not None else set()
        cards = {one.device.parent or one.device.uuid for one in session.found if one.device.uuid in wanted} if (
            session is not None) else set()  # fmt: skip
        if event.uuid is None or event.uuid in cards:
            log.warning("gpu_event kind=%s code=%s uuid=%s message=%r", event.kind, event.code, event.uuid,
                        event.message)  # fmt: skip
            self._emit(event)

    def _close(self, session: _Session, events: GpuEvents | None) -> None:
        session.over = True
        for lane, _ in session.lanes.values():
            lane.stop()
        if events is not None:
            events.stop()
        end_s = time.monotonic() + STOP_WAIT_S
        for lane, gpu in session.lanes.values():
            if lane.join(max(0.0, end_s - time.monotonic())):
                gpu.close()
        if events is not None:
            events.join(max(0.0, end_s - time.monotonic()))


def _of_processes(
    pids: frozenset[int], memory: Mapping[int, int], utilization: Mapping[int, tuple[int, int, int, int]], uuid: str
) -> dict[str, float]:
    """Sums over the processes of a run that use this GPU."""
    values: dict[str, float] = {}
    using = pids & memory.keys()
    if using:
        values[f"gpu_process_memory_bytes[{uuid}]"] = float(sum(memory[pid] for pid in using))
    busy = pids & utilization.keys()
    for index, name in enumerate(("sm", "memory", "encoder", "decoder")):
        if busy:
            values[f"gpu_process_{name}_percent[{uuid}]"] = float(sum(utilization[pid][index] for pid in busy))
    return values
