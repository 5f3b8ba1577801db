"""The frame parser against a stream that lies."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.errors import ProtocolError
from inhabit.wire.frames import FROM_HOST, FROM_WORKER, FrameParser, Kind, frame

FRAMES = st.lists(st.tuples(st.sampled_from(list(FROM_WORKER.values())), st.integers(0, 2**32 - 1), st.binary(max_size=50)))


@given(FRAMES, st.lists(st.integers(1, 30)))
def test_D04_D05_frames_arrive_whole_however_they_are_cut(frames: list[tuple[Kind, int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(frame(*each) for each in frames)
    parser = FrameParser(FROM_WORKER)
    seen: list[tuple[Kind, int, bytes]] = []
    for cut in cuts:
        seen += parser.feed(stream[:cut])
        stream = stream[cut:]
    seen += parser.feed(stream)
    assert seen == frames
    assert not parser.partial


def test_D05_bytewise() -> None:
    parser = FrameParser(FROM_WORKER)
    stream = frame(Kind.TURN, 7, b"abc") + frame(Kind.FAILED, 8)
    seen = [each for at in range(len(stream)) for each in parser.feed(stream[at:at + 1])]
    assert seen == [(Kind.TURN, 7, b"abc"), (Kind.FAILED, 8, b"")]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_D21_any_stream_gives_frames_or_a_protocol_error(pieces: list[bytes]) -> None:
    parser = FrameParser(FROM_WORKER, max_bytes=1000)
    for piece in pieces:
        try:
            parser.feed(piece)
        except ProtocolError:
            return


@pytest.mark.parametrize("length", [0, 4, 2**31, 2**32 - 1, 1001], ids=["zero", "short", "2_31", "minus_one", "over_limit"])
@pytest.mark.parametrize("split", [False, True])
def test_D01_frame_length_lie(length: int, split: bool) -> None:
    parser = FrameParser(FROM_WORKER, max_bytes=1000)
    head = struct.pack("<I", length)
    with pytest.raises(ProtocolError, match="claims"):
        for piece in [head[:2], head[2:]] if split else [head]:
            parser.feed(piece)
    with pytest.raises(ProtocolError, match="broken"):
        parser.feed(frame(Kind.TURN, 1))


def test_D02_a_truncated_frame_is_seen_as_partial() -> None:
    parser = FrameParser(FROM_WORKER)
    assert parser.feed(frame(Kind.TURN, 1, b"abc")[:-1]) == []
    assert parser.partial


@pytest.mark.parametrize("kind", [0, 99, 255, *FROM_HOST])
def test_D06_unknown_type(kind: int) -> None:
    parser = FrameParser(FROM_WORKER)
    with pytest.raises(ProtocolError, match="kind"):
        parser.feed(struct.pack("<IBI", 5, kind, 1))


def test_a_frame_over_the_bound_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="at most"):
        frame(Kind.START, 1, b"x" * 100, max_bytes=100)
