"""`watch`: wandb's keys and bins, the row they belong to, and a training thread that pays for a copy only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import client
from client import guard, histograms, watching
from client.history import Place
from client.protocol.records import Arrived, Await, Row, Summary
from client.testing import RecordedRun
from tests.support.processes import wait_until
from tests.support.recording_session import recording
from tests.support.requirements import require_module

torch = require_module("torch")


@pytest.fixture
def pair() -> Iterator[tuple[Any, RecordedRun]]:
    with recording() as recorded:
        run = client.init(project="p")
        yield run, recorded.run


def model() -> Any:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def batch(net: Any) -> None:
    net(torch.ones(5, 3)).square().sum().backward()


def filled(run: RecordedRun) -> dict[str, Any]:
    """All values that came later, by key."""
    rows = [record for record in run.session.records if isinstance(record, Row) and record.fills is not None]
    return {key: value for row in rows for key, value in row.data.items()}


def test_gradients_and_parameters_have_wandbs_keys(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    net = model()
    run.watch(net, log="all", log_freq=1, idx=0)
    batch(net)
    run.finish()
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert sorted(filled(recorded)) == sorted(
        [f"{kind}/{name}" for kind in ("gradients", "parameters") for name in names]
    )


def test_values_stand_at_the_row_that_was_open_and_an_await_says_so(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    net = model()
    run.watch(net, log_freq=2, idx=0)
    for step in range(4):
        batch(net)
        run.log({"step": step})
    run.finish()
    records = recorded.session.records
    awaits = [record.number for record in records if isinstance(record, Await)]
    rows = [
        (record.step, record.fills, record.closes) for record in records if isinstance(record, Row) and record.fills
    ]
    assert awaits == [1] * 4 + [2] * 4  # one for each gradient
    assert {row[:2] for row in rows} == {(1, 1), (3, 2)}
    assert not any(closes for _, _, closes in rows)
    assert sorted(record.number for record in records if isinstance(record, Arrived)) == [1, 2]
    assert [record.step for record in records if isinstance(record, Row) and not record.fills] == [0, 1, 2, 3]


def test_the_summary_shows_the_newest_histogram_once_its_row_is_closed(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    net = model()
    run.watch(net, log_freq=1, idx=0)
    batch(net)
    wait_until(lambda: len(filled(recorded)) == 4, 10, "the histograms")
    assert "gradients/0.bias" not in run.summary
    run.log({"a": 1})
    assert run.summary["gradients/0.bias"]["_type"] == "histogram"


def test_a_copy_is_what_is_looked_at(pair: tuple[Any, RecordedRun], monkeypatch: pytest.MonkeyPatch) -> None:
    run, recorded = pair
    go = threading.Event()
    real = histograms.histogram
    monkeypatch.setattr(histograms, "histogram", lambda copy: go.wait(10) and real(copy))
    net = model()
    run.watch(net, log="parameters", log_freq=1, idx=0)
    expected = real(histograms.Copy(net[0].bias))
    net(torch.ones(5, 3))
    with torch.no_grad():
        net[0].bias.fill_(9.0)
    go.set()
    run.finish()
    assert filled(recorded)["parameters/0.bias"] == expected


def test_a_hook_computes_nothing_on_the_training_thread(
    pair: tuple[Any, RecordedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = pair
    where: set[str] = set()
    real = histograms.histogram

    def seen(copy: Any) -> Any:
        where.add(threading.current_thread().name)
        return real(copy)

    monkeypatch.setattr(histograms, "histogram", seen)
    net = model()
    run.watch(net, log="all", log_freq=1, idx=0)
    batch(net)
    run.finish()
    assert where == {"telemetryd-histograms"}


def test_the_graph_holds_the_layers_that_ran(pair: tuple[Any, RecordedRun], capsys: pytest.CaptureFixture[str]) -> None:
    run, recorded = pair
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(4, 2)))
    run.watch(net, log=None, idx=0, log_graph=True)
    assert "logging graph" in capsys.readouterr().err
    for _ in range(2):
        net(torch.ones(5, 3))
    run.finish()
    sent = [record for record in recorded.session.records if isinstance(record, Summary)]
    (((path, graph),),) = [record.update for record in sent]
    assert (path, graph.kind, graph.args["format"]) == (["graph_0"], "Graph", "torch")
    nodes = graph.args["nodes"]
    assert [node["name"] for node in nodes] == ["0", "1.0", "1.1"]
    assert nodes[0]["parameters"] == [["weight", [4, 3]], ["bias", [4]]]
    assert (nodes[0]["num_parameters"], nodes[0]["output_shape"]) == ([12, 4], [[5, 4]])
    with pytest.raises(ValueError, match=r"only call `wandb.watch` once per model"):
        run_again(net)


def run_again(net: Any) -> None:
    client.init(project="p").watch(net, log=None, log_graph=True)


TENSORS = {
    "normal": lambda: torch.randn(1000),
    "double": lambda: torch.randn(100, dtype=torch.float64),
    "half": lambda: torch.randn(100).half(),
    "bfloat16": lambda: torch.randn(100).bfloat16(),
    "integers": lambda: torch.arange(50),
    "booleans": lambda: torch.tensor([True, False, True]),
    "constant": lambda: torch.full((7,), 0.1),
    "one": lambda: torch.tensor(2.5),
    "empty": lambda: torch.empty(0),
    "nan": lambda: torch.tensor([float("nan"), 1.0, 2.0, float("inf")]),
    "all_nan": lambda: torch.tensor([float("nan"), float("-inf")]),
    "sparse": lambda: torch.sparse_coo_tensor([[0, 3]], [1.0, 2.0], (10,)),
    "sparse_negative": lambda: torch.sparse_coo_tensor([[0, 3, 3]], [-1.0, -2.0, -0.5], (10,)),
    "matrix": lambda: torch.randn(20, 30).t(),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", TENSORS)
def test_a_histogram_is_wandbs_to_the_last_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = require_module("wandb")
    from wandb.integration.torch import wandb_torch

    torch.manual_seed(3)
    tensor = TENSORS[name]()
    logged: dict[str, Any] = {}

    class Wandbs:
        @staticmethod
        def _log(data: dict[str, Any], commit: bool) -> None:
            logged.update(data)

    monkeypatch.setattr(wandb, "run", Wandbs)
    wandb_torch.TorchHistory().log_tensor_stats(tensor, "key")
    theirs = logged["key"].to_json() if logged else None
    assert histograms.histogram(histograms.Copy(tensor)) == theirs


def test_unwatch_removes_the_hooks(pair: tuple[Any, RecordedRun], capsys: pytest.CaptureFixture[str]) -> None:
    run, recorded = pair
    first, second, third = model(), model(), model()
    run.watch([first, second], log="all", log_freq=1, idx=0)
    run.unwatch(first)
    batch(first)
    batch(second)
    run.unwatch(third)
    run.unwatch()
    batch(second)
    run.finish()
    assert {key.split("/")[1].split(".")[0] for key in filled(recorded)} == {"graph_10", "graph_11"}
    assert "model has not been watched" in capsys.readouterr().err
    assert not second._forward_hooks


def test_finish_removes_the_hooks_and_a_later_batch_harms_nobody(pair: tuple[Any, RecordedRun]) -> None:
    run, recorded = pair
    net = model()
    run.watch(net, log="all", log_freq=1, idx=0)
    batch(net)
    run.finish()
    before = len(recorded.session.bodies)
    batch(net)
    assert len(recorded.session.bodies) == before


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"models": "model"}, TypeError, "Expected a pytorch model"),
        ({"log": "weights"}, ValueError, "log must be one of"),
    ],
)
def test_wrong_arguments_raise_as_in_wandb(
    pair: tuple[Any, RecordedRun], arguments: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        pair[0].watch(**{"models": model(), **arguments})


def test_watching_a_model_twice_is_wandbs_error(pair: tuple[Any, RecordedRun]) -> None:
    net = model()
    pair[0].watch(net, idx=0)
    with pytest.raises(ValueError, match=r'A hook has already been set under name "gradients/0\.weight"'):
        pair[0].watch(net, idx=0)


def test_without_torch_there_is_nothing_to_watch(
    pair: tuple[Any, RecordedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histograms, "torch", lambda: None)
    with pytest.raises(client.Error, match="only works with pytorch"):
        pair[0].watch(object())


def test_what_is_too_much_is_left_out_and_counted(
    pair: tuple[Any, RecordedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recorded = pair
    go = threading.Event()
    real = histograms.histogram
    monkeypatch.setattr(histograms, "histogram", lambda copy: go.wait(10) and real(copy))
    monkeypatch.setattr(watching, "WATCH_PENDING_MAX_BYTES", 20)
    before = guard.counts.get("watch.copy", 0)
    net = model()
    run.watch(net, log="parameters", log_freq=1, idx=0)
    net(torch.ones(5, 3))
    go.set()
    run.finish()
    assert list(filled(recorded)) == ["parameters/0.weight"], "one that is larger than the cap goes when none waits"
    assert guard.counts["watch.copy"] - before == 3
    guard.raised.clear()


def test_places_are_one_as_long_as_the_row_is_open(pair: tuple[Any, RecordedRun]) -> None:
    run, _ = pair
    history = run._history
    first = history.place_now(None, "k")
    assert isinstance(first, Place)
    assert history.place_now(first, "k") is first
    run.log({"a": 1}, commit=False)
    assert history.place_now(first, "k") is first
    run.log({"b": 1})
    second = history.place_now(first, "k")
    assert (second.step, second.number) == (1, 2)
    run.log({"c": 1}, step=9)
    assert history.place_now(second, "k").step == 9
    history.fill(first, {"late": 1})
    history.arrived(first)
    run.finish()
    assert history.place_now(second, "k") is None


class PlayedCuda:
    """torch with a CUDA device that is played: notes what is asked of it, and by which thread."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.told: list[str] = []
        self.cuda = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def note(self, what: str) -> None:
        here = threading.current_thread().name
        self.told.append(f"{what} in {'hook' if here == 'MainThread' else 'thread'}")

    def current_stream(self, device: Any) -> str:
        return "training's"

    def Event(self) -> Any:
        outer = self

        class Event:
            def record(self, stream: str) -> None:
                outer.note(f"event recorded on {stream}")

            def synchronize(self) -> None:
                outer.note("synchronized")

        return Event()

    def Stream(self, device: Any) -> Any:
        outer = self

        class Stream(contextlib.nullcontext[None]):
            def wait_event(self, event: Any) -> None:
                outer.note("event waited for by a stream")

        return Stream()

    def device(self, device: Any) -> Any:
        return contextlib.nullcontext()

    def stream(self, stream: Any) -> Any:
        return stream


class OnDevice:
    """A tensor that says it is on the device."""

    is_cuda, is_sparse, device = True, False, "cuda:0"

    def __init__(self, played: PlayedCuda, tensor: Any) -> None:
        self._played, self._tensor = played, tensor

    def __getattr__(self, name: str) -> Any:
        if name in ("item", "cpu", "tolist"):
            self._played.note(name)
        return getattr(self._tensor, name)

    def detach(self) -> OnDevice:
        return self

    def clone(self) -> OnDevice:
        self._played.note("clone queued")
        return OnDevice(self._played, self._tensor.clone())

    def record_stream(self, stream: Any) -> None:
        self._played.note("kept for the stream")


def test_a_tensor_on_a_device_is_copied_there_and_nobody_waits_in_the_hook(
    pair: tuple[Any, RecordedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recorded = pair
    run.watch(model(), log=None)
    played = PlayedCuda(torch)
    monkeypatch.setattr(histograms, "torch", lambda: played)
    run._watching._fills.take("gradients/w", OnDevice(played, torch.arange(10.0)))
    run.finish()
    assert played.told[:2] == ["clone queued in hook", "event recorded on training's in hook"]
    assert "event waited for by a stream in thread" in played.told
    assert not [told for told in played.told[2:] if told.endswith("in hook")]
    expected = histograms.histogram(histograms.Copy(torch.arange(10.0)))
    assert filled(recorded) == {"gradients/w": expected}
