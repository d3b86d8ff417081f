"""The tee: what goes wrong with the text costs the text, never the stream."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from client import guard
from client.console.streams import Stream
from client.console.tee import Tee
from client.console.transcript import Transcript


class Pipes:
    """A stream between two pipes: what is written to `source` is shown to `reader`."""

    def __init__(self) -> None:
        outer, self.source = os.pipe()
        self.reader, shown = os.pipe()
        self.stream = Stream("stdout", shown, outer, self.source, is_terminal=False)
        self.texts: list[str] = []

    def hand_on(self, stream: str, text: str, time_ns: int) -> None:
        assert (stream, time_ns > 0) == ("stdout", True)
        self.texts.append(text)

    def tee(self, *, stay: bool = False) -> Tee:
        return Tee(self.stream, Transcript(self.hand_on, "launcher"), "launcher", stay=stay)

    def write_and_end(self, tee: Tee, *parts: bytes) -> bytes:
        """What was shown of the parts."""
        tee.start()
        for part in parts:
            os.write(self.source, part)
        os.close(self.source)
        tee.finish()
        os.close(self.stream.shown)
        shown = os.read(self.reader, 1 << 20)
        os.close(self.reader)
        return shown


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    yield Pipes()
    guard.raised.clear()  # the errors here are made on purpose


def test_text_that_is_not_taken_is_shown_all_the_same(pipes: Pipes) -> None:
    def refuse(stream: str, text: str, time_ns: int) -> None:
        raise RuntimeError("no room")

    assert (
        pipes.write_and_end(Tee(pipes.stream, Transcript(refuse, "launcher"), "launcher"), b"one ", b"two")
        == b"one two"
    )
    assert [where for where, _ in guard.raised] == ["launcher.stdout.text"] * len(guard.raised)
    assert guard.raised


def test_a_broken_tee_still_reads_so_that_no_full_pipe_stops_the_command(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Tee, data: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Tee, "_take", broken)
    assert pipes.write_and_end(pipes.tee(), b"x" * 30_000, b"y" * 30_000) == (b"x" * 30_000 + b"y" * 30_000)
    assert pipes.texts == []
    assert [where for where, _ in guard.raised] == ["launcher.stdout"]


def test_a_cut_character_at_the_very_end_becomes_one_replacement(pipes: Pipes) -> None:
    assert pipes.write_and_end(pipes.tee(), "ä€".encode()[:-1]) == "ä€".encode()[:-1]
    assert "".join(pipes.texts) == "ä\N{REPLACEMENT CHARACTER}"


def test_a_stream_that_stays_open_is_left_after_a_pause(pipes: Pipes) -> None:
    tee = pipes.tee()
    tee.start()
    os.write(pipes.source, b"last words")
    tee.finish()
    assert pipes.texts == ["last words"]
    with pytest.raises(BrokenPipeError):
        os.write(pipes.source, b"nobody listens")
    for descriptor in (pipes.source, pipes.stream.shown, pipes.reader):
        os.close(descriptor)
