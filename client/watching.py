"""`run.watch`: histograms of a torch model's gradients and parameters, computed behind the training's back.

    hook (training thread)                    thread "telemetryd-histograms"
    the row that is open: Await ──► journal    histogram of each copy, as wandb computes it
    a copy of the tensor ────────────────────► a row that fills the Await; Arrived when the step's row is closed

Keys, bins and counts are wandb's: `gradients/<name>` and `parameters/<name>`, 64 bins between minimum and maximum,
`graph_<n>` before the name from the second model on.

Invariants
* A hook copies and returns: no histogram, no `item()`, no wait for a device. The copy of a tensor on a device is queued
  on its own stream; the thread computes there, on a stream of its own, behind an event.
* Each value's Await is in the journal before its copy is made: a copy that dies with the process is counted as lost.
* At most WATCH_PENDING_MAX_BYTES of copies wait; a tensor beyond that is left out, counted and told.
* torch is the program's: it is found in sys.modules, and only this module and histograms.py touch it.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from client import guard, histograms
from client.errors import Error
from client.histograms import Copy
from client.limits import WATCH_FILL_PERIOD_S, WATCH_PENDING_MAX_BYTES, WATCH_WAIT_S
from client.media.graph import Graph
from client.model_graph import ModelGraph
from client.term import termlog, termwarn

if TYPE_CHECKING:
    from client.history import Place
    from client.run_actions import RunActions

_models_seen = itertools.count()
LOGS = ("gradients", "parameters", "all", None)


class WatchedTooMuchError(Error):
    """Copies for `watch` were left out: the thread that computes histograms is behind."""


class Watching:
    """The models that a run watches."""

    def __init__(self, run: RunActions) -> None:
        self._run = weakref.ref(run)
        self._handles: dict[str, Any] = {}
        self._fills = Fills(run)

    def watch(self, models: Any, criterion: Any, log: Any, log_freq: int, idx: int | None, log_graph: bool) -> None:
        """See RunActions.watch."""
        if log not in LOGS:
            raise ValueError("log must be one of 'gradients', 'parameters', 'all', or None")
        torch = histograms.torch()
        if torch is None:
            raise Error("wandb.watch only works with pytorch: the program has not imported torch")
        models = models if isinstance(models, (tuple, list)) else (models,)
        for model in models:
            if not isinstance(model, torch.nn.Module):
                raise TypeError(f"Expected a pytorch model (torch.nn.Module). Received {type(model)}")
        for local, model in enumerate(models):
            seen = next(_models_seen)
            number = seen if idx is None else idx + local
            prefix = f"graph_{number}" if number > 0 else ""
            if log in ("parameters", "all"):
                self._watch_parameters(model, prefix, log_freq)
            if log in ("gradients", "all"):
                self._watch_gradients(model, prefix, log_freq)
            if log_graph:
                self._watch_graph(model, number)

    def unwatch(self, models: Any) -> None:
        """See RunActions.unwatch."""
        if not models:
            for handle in self._handles.values():
                handle.remove()
            self._handles.clear()
            return
        for model in models if isinstance(models, (tuple, list)) else (models,):
            names = getattr(model, "_wandb_hook_names", None)
            if names is None:
                termwarn(f"{model} model has not been watched")
                continue
            for name in names:
                handle = self._handles.pop(name, None)
                if handle is not None:
                    handle.remove()
            del model._wandb_hook_names

    def drain(self, timeout_s: float) -> None:
        """Before the run's end: remove the hooks, and wait until every histogram is in the stream."""
        self.unwatch(None)
        self._fills.close(timeout_s)

    def orphan(self) -> None:
        """In a forked child: the run is silent, and its thread is not here."""
        self._fills.orphan()

    def _keep(self, model: Any, name: str, handle: Any) -> None:
        if not hasattr(model, "_wandb_hook_names"):
            model._wandb_hook_names = []
        model._wandb_hook_names.append(name)
        self._handles[name] = handle

    def _watch_parameters(self, model: Any, prefix: str, log_freq: int) -> None:
        due = _every(log_freq)
        fills = self._fills

        def after_forward(module: Any, inputs: Any, output: Any) -> None:
            if due():
                for name, parameter in module.named_parameters():
                    fills.take(f"parameters/{prefix}{name}", parameter)

        try:
            handle = model.register_forward_hook(after_forward)
        except RuntimeError as error:
            termwarn(f"Trying to register forward_hook failed ({error}) - skipping parameter tracking.")
            return
        self._keep(model, f"parameters/{prefix}", handle)

    def _watch_gradients(self, model: Any, prefix: str, log_freq: int) -> None:
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            key = f"gradients/{prefix}{name}"
            if key in self._handles:
                raise ValueError(f'A hook has already been set under name "{key}"')
            self._keep(model, key, parameter.register_hook(self._gradient_hook(key, log_freq)))

    def _gradient_hook(self, key: str, log_freq: int) -> Callable[[Any], None]:
        due = _every(log_freq)
        fills = self._fills

        def after_backward(gradient: Any) -> None:
            if due():
                fills.take(key, gradient)

        return after_backward

    def _watch_graph(self, model: Any, number: int) -> None:
        termlog("logging graph, to disable use `wandb.watch(log_graph=False)`")
        run = self._run

        def complete(nodes: list[dict[str, Any]]) -> None:
            owner = run()
            if owner is not None:
                graph = Graph("torch")
                for node in nodes:
                    graph.add_node(**node)
                owner.summary[f"graph_{number}"] = graph

        for name, parent, handle in ModelGraph(complete).hook(model):
            self._keep(parent, name, handle)


def _every(count: int) -> Callable[[], bool]:
    """True at each `count`th call."""
    calls = 0

    def due() -> bool:
        nonlocal calls
        calls += 1
        if calls < count:
            return False
        calls = 0
        return True

    return due


class Step:
    """One row's Await, and the copies that it waits for.

    `expected` counts copies being made; `quiet_s` counts up while there is nothing to compute.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.copies: deque[tuple[str, Copy]] = deque()
        self.expected = 0
        self.quiet_s = 0.0


class Fills:
    """From copies to the rows that fill their Awaits; one thread, started with the first copy.

    `_lock` guards everything but the copying and the computing; the history's lock is taken within it, never the other
    way round.
    """

    def __init__(self, run: RunActions) -> None:
        self._history = run._history
        self._lock = threading.Lock()
        self._step: Step | None = None
        """The one that the newest copy belongs to."""
        self._steps: deque[Step] = deque()
        self._pending_bytes = 0
        self._news = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def take(self, key: str, tensor: Any) -> None:
        """On the training thread: copy a tensor for the row that is open now. Never raises."""
        try:
            step = self._step_for(key, histograms.size_bytes(tensor))
            if step is not None:
                self._copy(step, key, tensor)
        except Exception as error:  # noqa: BLE001 - a hook that raises ends the training step
            guard.swallow("watch.copy", error)

    def _step_for(self, key: str, size: int) -> Step | None:
        with self._lock:
            if self._closing:
                return None
            if self._pending_bytes and self._pending_bytes + size > WATCH_PENDING_MAX_BYTES:
                raise WatchedTooMuchError(f"{key} is left out: {self._pending_bytes >> 20} MiB wait for histograms")
            place = self._history.place_now(self._step.place if self._step is not None else None, key)
            if place is None:  # finished or forked
                return None
            if self._step is None or self._step.place is not place:
                self._step = Step(place)
                self._steps.append(self._step)
            self._step.expected += 1
            self._pending_bytes += size
            return self._step

    def _copy(self, step: Step, key: str, tensor: Any) -> None:
        size, copy = histograms.size_bytes(tensor), None
        try:
            copy = Copy(tensor)
        finally:
            with self._lock:
                step.expected -= 1
                if copy is not None:
                    step.copies.append((key, copy))
                else:
                    self._pending_bytes -= size
                if self._thread is None and not self._closing:
                    self._thread = threading.Thread(target=self._run, name="telemetryd-histograms", daemon=True)
                    self._thread.start()
            self._news.set()

    def close(self, timeout_s: float) -> None:
        """Take no more, and wait until everything taken is in the stream; what is not then is left out."""
        with self._lock:
            self._closing = True
            thread = self._thread
        self._news.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
            if thread.is_alive():
                guard.swallow("watch.end", WatchedTooMuchError("the run ends before all its histograms are computed"))

    def orphan(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()
        self._closing = True
        self._thread = None

    def _run(self) -> None:
        while True:
            self._news.wait(WATCH_FILL_PERIOD_S if self._steps else None)
            self._news.clear()
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - as in `take`
                guard.swallow("watch.fill", error)
            with self._lock:
                if self._closing and not self._steps:
                    return

    def _turn(self) -> None:
        for step in list(self._steps):
            computed = self._compute(step)
            if computed:
                self._history.fill(step.place, computed)
            if self._is_over(step, busy=bool(computed)):
                self._history.arrived(step.place)

    def _compute(self, step: Step) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while step.copies:
            key, copy = step.copies.popleft()
            try:
                histogram = histograms.histogram(copy)
                if histogram is not None:
                    found[key] = histogram
            except Exception as error:  # noqa: BLE001 - a tensor without a histogram costs itself only
                guard.swallow("watch.histogram", error)
            with self._lock:
                self._pending_bytes -= copy.size
        return found

    def _is_over(self, step: Step, *, busy: bool) -> bool:
        """Whether nothing more comes for this row; it is not looked at again then."""
        step.quiet_s = 0.0 if busy else step.quiet_s + WATCH_FILL_PERIOD_S
        closed = self._history.steps.next > step.place.step
        with self._lock:
            if step.copies or step.expected or not (closed or self._closing or step.quiet_s >= WATCH_WAIT_S):
                return False
            if self._step is step:
                self._step = None
            self._steps.remove(step)
            return True
