"""The compiled plain case of `log` and the Python that it stands for leave the same bytes, whatever is done."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import fastlog
from client.history import History
from client.journal.segment import Segment
from client.limits import SEGMENT_BYTES
from client.protocol.records import Config, Row, decode
from client.summary_mirror import SummaryMirror
from tests.support.recording_session import history, rows
from tests.support.requirements import require


@pytest.fixture(autouse=True)
def _compiled() -> None:
    require(fastlog.COMPILED, "the compiled log: a C compiler and Python's headers when telemetryd was installed")


KEYS = ["loss", "accuracy", "lr", "grad/norm"]
values = st.one_of(
    st.floats(),
    st.integers(-(1 << 70), 1 << 70),  # some beyond 64 bits
    st.text(max_size=5),
    st.just("\ud800"),  # an unpaired surrogate
    st.none(),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.sampled_from("xy"), st.integers(0, 9), max_size=2),
)
data = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), values, max_size=5)
calls = st.lists(
    st.one_of(
        st.tuples(st.just("log"), data),
        st.tuples(st.just("log"), data),
        st.tuples(st.just("fresh keys"), data),
        st.tuples(st.just("step"), data, st.integers(-2, 30)),
        st.tuples(st.just("open"), data),
        st.tuples(st.just("config"), st.integers(0, 9)),
        st.tuples(st.just("rule"), st.sampled_from(KEYS)),
        st.tuples(st.just("summary")),
        st.tuples(st.just("roll")),
        st.tuples(st.just("refused")),
    ),
    max_size=40,
)


def play(calls: list[Any], *, compiled: bool) -> tuple[list[Any], str, int]:
    log, journal = history(compiled=compiled)
    journal.writer.spares.append(Segment.in_memory(SEGMENT_BYTES, bytes(16)))
    for name, *arguments in calls:
        match name:
            case "log":
                log.log(dict(arguments[0]))
            case "fresh keys":
                log.log({"".join(list(key)): value for key, value in arguments[0].items()})
            case "step":
                log.log(dict(arguments[0]), step=arguments[1])
            case "open":
                log.log(dict(arguments[0]), commit=False)
            case "config":
                log.emit(Config({"a": arguments[0]}))
            case "rule":
                add_rule(log, arguments[0])
            case "summary":
                log.read_summary()
            case "roll":
                journal.writer.roll()
            case "refused":
                with pytest.raises(TypeError, match="not JSON serializable"):
                    log.log({"loss": object()})
    summary = {key: value for key, value in log.read_summary().items() if key not in ("_timestamp", "_runtime")}
    ordered = sorted(summary.items())  # keys come in the order in which their rows are folded, which promises nothing
    return [timeless(body) for body in journal], repr(ordered), log.steps.next


def add_rule(log: History, key: str) -> None:
    def change(mirror: SummaryMirror) -> None:
        mirror.add_rule(key, ["min"], overwrite=False)

    log.emit(Config({"rule": key}), change)


def timeless(body: bytes) -> Any:
    record = decode(body)
    if isinstance(record, Row):
        assert abs(record.time_ns) > 1 << 60
        record.time_ns = 0
    return repr(record), len(body)


@given(calls)
def test_both_leave_the_same_stream_and_the_same_summary(sequence: list[Any]) -> None:
    assert play(sequence, compiled=True) == play(sequence, compiled=False)


@given(st.binary(max_size=600), st.integers(0, (1 << 32) - 1))
def test_the_checksum_is_zlibs(content: bytes, seed: int) -> None:
    from client import _fastlog  # absent where it could not be compiled

    assert _fastlog.checksum(content, seed) == zlib.crc32(content, seed)


def test_numbers_beyond_32_bits_are_in_the_checksum() -> None:
    for compiled in (True, False):
        log, journal = history(compiled=compiled)
        before = (5 << 32) + 7
        journal.writer.current.begin(before + 1)
        journal.writer.before = before
        log.log({"a": 1})
        log.log({"a": 2})
        assert [row.data["a"] for row in rows(journal)] == [1, 2]
        segment = journal.writer.current
        segment.first += 1 << 33
        with pytest.raises(AssertionError, match="checksum"):
            len(journal)


def test_threads_that_log_beside_others_that_write_records_and_change_segments_lose_and_double_nothing() -> None:
    log, journal = history()
    writer = journal.writer
    each, loggers = 4_000, 4
    beginning = threading.Barrier(loggers + 2)
    over = threading.Event()

    def logging(name: str) -> None:
        beginning.wait()
        for index in range(each):
            log.log({name: index, "x": 0.5})

    def emitting() -> None:
        beginning.wait()
        while not over.is_set():
            log.emit(Config({"a": 1}))
            log.read_summary()

    def changing() -> None:
        beginning.wait()
        while not over.is_set():
            if len(writer.sealed) < 20:
                writer.spares.append(Segment.in_memory(SEGMENT_BYTES, bytes(16)))
                writer.roll()
            over.wait(0.001)

    threads = [threading.Thread(target=logging, args=(f"t{i}",)) for i in range(loggers)]
    others = [threading.Thread(target=emitting), threading.Thread(target=changing)]
    for thread in (*threads, *others):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    for thread in others:
        thread.join()
    found = rows(journal)
    assert [row.step for row in found] == list(range(each * loggers))
    for i in range(loggers):
        assert [row.data[f"t{i}"] for row in found if f"t{i}" in row.data] == list(range(each))
    assert writer.sequence == len(journal)
    assert log.read_summary()["_step"] == each * loggers - 1


def test_a_full_segment_is_followed_by_another() -> None:
    log, journal = history()
    count = SEGMENT_BYTES // 200
    for index in range(count):
        log.log({"text": "x" * 300, "i": index})
    assert len(journal.writer.segments()) > 1
    assert [row.data["i"] for row in rows(journal)] == list(range(count))


def test_what_is_released_can_be_closed_and_takes_nothing_more() -> None:
    log, journal = history()
    log.log({"a": 1})
    log.log({"a": 2})
    segment = journal.writer.current
    journal.writer.close("finished")
    log.log({"a": 3})
    assert journal.writer.dropped == {"finished": 1}
    journal.writer.release()
    assert segment.bytes.closed
    log.log({"a": 4})
    assert journal.writer.dropped == {"finished": 2}


def test_a_finished_run_refuses_and_a_forked_one_counts() -> None:
    for reason in ("finished", "forked"):
        log, journal = history()
        log.log({"a": 1})
        log.end(reason)
        if reason == "finished":
            with pytest.raises(Exception, match="is finished"):
                log.log({"a": 2})
        else:
            log.log({"a": 2})
            assert log.rows_after_fork == 1
        assert len(journal) == 1


class Nosy:
    """A value whose own code logs, reads the summary and changes what is logged, while it is encoded."""

    model_fields: dict[str, Any] = {}

    def __init__(self, log: History, row: dict[str, Any]) -> None:
        self.log, self.row = log, row

    def model_dump(self) -> dict[str, Any]:
        self.log.log({"within": 1})
        self.log.read_summary()
        self.log.slots = {}
        return {"seen": True}


def test_a_value_whose_code_logs_finds_everything_in_order() -> None:
    log, journal = history()
    for _ in range(3):
        row: dict[str, Any] = {"a": 1.0}
        row["b"] = Nosy(log, row)
        log.log(row)
    steps = [(row.step, sorted(row.data)) for row in rows(journal)]
    assert steps == [(i, ["within"] if i % 2 == 0 else ["a", "b"]) for i in range(6)]


def test_what_was_encoded_is_not_encoded_again_when_the_case_is_no_plain_one() -> None:
    log, journal = history()
    log.log({"a": [0], "text": ""})
    for _ in range(20):  # every second or third begins a segment
        log.log({"a": (i for i in range(3)), "text": "x" * (SEGMENT_BYTES // 3)})
    assert len(journal.writer.segments()) > 5
    assert [row.data["a"] for row in rows(journal)] == [[0]] + [[0, 1, 2]] * 20


def test_a_rule_that_comes_while_a_row_is_encoded_sees_the_row() -> None:
    class Ruling:
        model_fields: dict[str, Any] = {}

        def model_dump(self) -> int:
            add_rule(log, "a")
            return 5

    log, _ = history()
    log.log({"a": 1, "b": 0})
    log.log({"a": 2, "b": Ruling()})
    assert log.read_summary()["a"] == {"min": 2}


class Odd(str):
    """A key that is equal to nothing, and whose hash counts its calls."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = str.__hash__


def test_an_exception_of_a_keys_own_code_reaches_the_caller_and_harms_nothing() -> None:
    log, journal = history()
    log.log({"a": 1})
    with pytest.raises(ZeroDivisionError):
        log.log({Odd("a"): 1})
    log.log({"a": 2})
    assert [row.data for row in rows(journal)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("arguments", [(), ({"a": 1}, 2, None, 4), (3,), ([("a", 1)],)])
def test_wrong_calls_are_told_as_python_tells_them(arguments: tuple[Any, ...]) -> None:
    log, journal = history()
    log.log({"a": 1})
    with pytest.raises(TypeError) as compiled:
        log.log(*arguments)
    with pytest.raises(TypeError) as python:
        history(compiled=False)[0].log_any(*arguments)
    assert str(compiled.value) == str(python.value)
    with pytest.raises(TypeError, match=r"History\.log\(\) got an unexpected keyword argument 'wrong'"):
        log.log({"a": 1}, wrong=2)  # type: ignore[call-arg]
    assert len(journal) == 1


def test_a_log_call_keeps_nothing_but_the_newest_row() -> None:
    class Text(str):
        pass

    log, journal = history()
    key, value = "key of a row", Text("x")
    gone = weakref.ref(value)
    log.log({key: 1.5})
    log.log({key: 1.5})
    before = sys.getrefcount(key)
    for _ in range(1000):
        log.log({key: 1.5})
        log.log({key: value})
    assert sys.getrefcount(key) == before
    del value
    assert gone() is None
    ended = weakref.ref(log)
    del log, journal
    gc.collect()
    assert ended() is None


def test_steps_end_where_64_bits_end() -> None:
    log, journal = history()
    log.log({"a": 1}, step=(1 << 63) - (1 << 32), commit=True)
    log.log({"a": 2})
    assert log.steps.next == (1 << 63) - (1 << 32) + 2
    with pytest.raises(ValueError, match="out of range"):
        log.log({"a": 1}, step=(1 << 63) - 1)
    assert len(journal) == 2


def test_without_it_the_same_names_are_there() -> None:
    """What `client` is where nothing could be compiled."""
    script = (
        "import client.fastlog as f; from tests.support.recording_session import history\n"
        "log, journal = history(); log.log({'a': 1}); log.log({'a': 2}, step=5)\n"
        "assert not f.COMPILED and len(journal) == 2 and log.log.__func__ is type(log).log_any\n"
    )
    environment = {"PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path)), fastlog.PURE_VARIABLE: "1"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)
