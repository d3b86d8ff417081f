"""What is printed reaches its session in order, bounded, and no print notices."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import guard
from client.console import capture, wrap
from client.console.capture import Capture
from client.console.scribe import Scribe
from client.console.throttle import Throttle
from client.limits import OUTPUT_BATCH_S, OUTPUT_BURST_BYTES, OUTPUT_RATE_BYTES_PER_S, OUTPUT_TOTAL_BYTES
from client.protocol.records import Output


class Stream(io.StringIO):
    """A stream that takes attributes, as a console's does."""


Make = Callable[[], tuple[Stream, Stream]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Puts streams in the place of this process's, within the test: pytest puts its own there before."""
    return lambda: put_streams(monkeypatch)


def put_streams(monkeypatch: pytest.MonkeyPatch) -> tuple[Stream, Stream]:
    out, err = Stream(), Stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.delenv("TELEMETRYD_OUTPUT", raising=False)
    return out, err


def test_both_streams_are_recorded_in_the_order_in_which_they_were_written(make: Make) -> None:
    streams = make()
    records: list[Output] = []
    console = Capture(Scribe(records.append))
    console.start("auto")
    print("one")
    print("two", file=sys.stderr)
    print("three")
    console.stop()
    print("not this")
    assert "".join(f"{record.stream}:{record.text}" for record in records) == ("stdout:one\nstderr:two\nstdout:three\n")
    assert streams[0].getvalue() == "one\nthree\nnot this\n"
    assert streams[1].getvalue() == "two\n"
    assert all("write" not in vars(stream) for stream in streams), "nothing is left on the streams"


def test_the_beginning_of_a_line_is_recorded_when_the_other_stream_comes_when_it_waited_and_at_the_end(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    now_s = [0.0]
    monkeypatch.setattr("client.console.scribe.time.monotonic", lambda: now_s[0])
    records: list[str] = []
    console = Capture(Scribe(lambda record: records.append(f"{record.stream}:{record.text}")))
    console.start("wrap")
    print("a", end="")
    console.tick()
    assert records == []
    now_s[0] += OUTPUT_BATCH_S
    console.tick()
    assert records == ["stdout:a"]
    print("b", "c", end="")
    print("err", end="", file=sys.stderr)
    assert records[1:] == ["stdout:b c"]
    print("\rbar", end="", file=sys.stderr)
    assert records[2:] == ["stderr:err\rbar"]
    print("last", end="")
    console.stop()
    assert records[3:] == ["stdout:last"]


def test_off_touches_nothing(make: Make) -> None:
    streams = make()
    console = Capture(Scribe(lambda record: pytest.fail("recorded")))
    console.start("off")
    assert "write" not in vars(streams[0])
    print("x")
    console.stop()


def test_two_sessions_hear_the_same_until_each_ends(make: Make) -> None:
    make()
    heard: dict[int, list[str]] = {1: [], 2: []}
    one, two = (Capture(Scribe(lambda record, n=n: heard[n].append(record.text))) for n in (1, 2))
    one.start("wrap")
    print("a")
    two.start("wrap")
    print("b")
    one.stop()
    print("c")
    two.stop()
    assert heard == {1: ["a\n", "b\n"], 2: ["b\n", "c\n"]}


def test_a_stream_that_was_wrapped_by_another_since_is_left_as_it_is(make: Make) -> None:
    streams = make()
    console = Capture(Scribe(lambda record: None))
    console.start("wrap")
    ours = streams[0].write
    theirs: list[str] = []

    def another(text: str) -> int:
        theirs.append(text)
        return ours(text)

    streams[0].write = another  # type: ignore[method-assign]
    console.stop()
    print("still", end="")
    assert (streams[0].getvalue(), theirs[0]) == ("still", "still")
    again: list[str] = []
    console = Capture(Scribe(lambda record: again.append(record.text)))
    console.start("wrap")
    print("heard", end="")
    console.stop()
    assert again == ["heard"]


def test_a_print_that_fails_fails_as_it_would_and_one_that_cannot_be_recorded_does_not(make: Make) -> None:
    streams = make()

    def refuse(record: Output) -> None:
        raise RuntimeError("no room")

    console = Capture(Scribe(refuse))
    console.start("wrap")
    print("printed", end="")
    streams[0].close()
    with pytest.raises(ValueError, match="closed"):
        print("x")
    console.stop()
    assert [where for where, _ in guard.raised] == ["console.record"]
    guard.raised.clear()


def test_what_recording_itself_prints_is_no_circle(make: Make) -> None:
    streams = make()
    records: list[str] = []

    def record(output: Output) -> None:
        records.append(output.text)
        print("from within", file=sys.stderr)

    console = Capture(Scribe(record))
    console.start("wrap")
    print("once", end="")
    console.stop()
    assert records == ["once"]
    assert streams[1].getvalue() == "from within\n"


def test_a_stream_without_attributes_and_none_at_all_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed:
        __slots__ = ()

        def write(self, text: str) -> int:
            return len(text)

    monkeypatch.setattr(sys, "stdout", Fixed())
    monkeypatch.setattr(sys, "stderr", None)
    assert not wrap.listen("stdout", lambda stream, text: None)
    assert not wrap.listen("stderr", lambda stream, text: None)


def test_a_forked_child_prints_and_records_nothing(make: Make) -> None:
    make()
    read, write = os.pipe()
    console = Capture(Scribe(lambda record: os.write(write, record.text.encode()) and None))
    console.start("wrap")
    pid = os.fork()
    if pid == 0:
        print("child")
        os._exit(len(wrap._listeners["stdout"]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    console.stop()
    os.close(write)
    assert os.read(read, 100) == b""
    os.close(read)


def test_what_a_launcher_records_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as piped:
        monkeypatch.setattr(sys, "stdout", piped)
        file = capture.file_of(write)
        assert capture.belongs_to_launcher("stdout", {"TELEMETRYD_OUTPUT": f"1:2,{file}"})
        assert not capture.belongs_to_launcher("stdout", {"TELEMETRYD_OUTPUT": "1:2"})
        assert not capture.belongs_to_launcher("stdout", {})
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        assert not capture.belongs_to_launcher("stdout", {"TELEMETRYD_OUTPUT": str(file)})
    os.close(read)


def test_many_threads_lose_no_piece(make: Make) -> None:
    make()
    records: list[str] = []
    console = Capture(Scribe(lambda record: records.append(record.text)))
    console.start("wrap")

    def work(number: int) -> None:
        for i in range(200):
            sys.stdout.write(f"{number}:{i}\n")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    console.stop()
    assert sorted(records) == sorted(f"{number}:{i}\n" for number in range(8) for i in range(200))


def test_a_flood_is_left_out_and_told_in_the_log_and_in_bytes_by_reason() -> None:
    records: list[Output] = []
    scribe = Scribe(records.append)
    piece = "x" * (OUTPUT_BURST_BYTES // 4)
    for _ in range(10):
        scribe.write("stdout", piece)
    scribe.close()
    kept = sum(len(record.text) for record in records if not record.left_out)
    left_out = sum(size for record in records for size in record.left_out.values())
    assert kept + left_out == 10 * len(piece)
    assert kept <= OUTPUT_BURST_BYTES + OUTPUT_RATE_BYTES_PER_S * 10
    assert f"left out of the output here: {left_out} bytes (rate)" in records[-1].text


@given(st.lists(st.tuples(st.integers(1, 2 * OUTPUT_BURST_BYTES), st.floats(0, 100)), max_size=60))
def test_at_no_time_is_more_taken_than_the_bucket_gives_and_nothing_is_uncounted(
    pieces: list[tuple[int, float]],
) -> None:
    throttle, now_s, taken, left_out = Throttle(), 0.0, 0, 0
    for size, pause_s in pieces:
        now_s += pause_s
        if throttle.take(size, now_s):
            taken += size
        else:
            left_out += size
        assert taken <= OUTPUT_BURST_BYTES + now_s * OUTPUT_RATE_BYTES_PER_S + 1
        assert taken <= OUTPUT_TOTAL_BYTES
    assert sum(throttle.untold().values()) == left_out
    assert taken + left_out == sum(size for size, _ in pieces)


def test_after_a_flood_output_is_taken_again() -> None:
    throttle = Throttle()
    while throttle.take(OUTPUT_BURST_BYTES // 2, 0.0):
        pass
    assert not throttle.take(1, 0.1)
    assert throttle.take(1, OUTPUT_BURST_BYTES / OUTPUT_RATE_BYTES_PER_S)
