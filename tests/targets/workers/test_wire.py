"""Frames: what goes in comes out, and only a whole frame of this version is accepted."""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.checks.hostile import binary, document

from edgeq.targets.workers import wire

if TYPE_CHECKING:
    from numpy.typing import NDArray

DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)


def packed(header: dict[str, Any], arrays: list[NDArray[Any]]) -> bytes:
    return b"".join(bytes(piece) for piece in wire.pack(header, arrays))


def reread(content: bytes, limit: int = wire.MAX_PAYLOAD) -> wire.Frame:
    return wire.unpack(io.BytesIO(content).read, limit)


def frame(
    text: bytes,
    payload: bytes,
    *,
    magic: bytes = wire.MAGIC,
    version: int = wire.VERSION,
    size: int | None = None,
) -> bytes:
    return (
        struct.pack("<8sIIQ", magic, version, len(text), len(payload) if size is None else size)
        + text
        + payload
    )


@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 4), max_size=4),
    st.dictionaries(st.text(), st.integers() | st.text()),
)
def test_what_is_packed_is_unpacked(dtype: str, shape: list[int], header: dict[str, Any]) -> None:
    header.pop("arrays", None)
    values = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    again = reread(packed(header, [values, values[..., None].T]))
    assert again.header == header
    assert [array.dtype.name for array in again.arrays] == [dtype, dtype]
    np.testing.assert_array_equal(again.arrays[0], values)
    np.testing.assert_array_equal(again.arrays[1], values[..., None].T)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (frame(b"{}", b"", magic=b"Welcome "), "no message"),
        (
            frame(b"{}", b"", version=wire.VERSION + 1),
            f"speaks version {wire.VERSION + 1} of the protocol",
        ),
        (frame(b"{}", b"", size=2**40), "it announces"),
        (frame(b"{}", b"", size=10), "ends after 0 of 10 bytes"),
        (frame(b"{}", b"")[:10], "ends after 10 of 24 bytes"),
        (frame(b"{", b""), "no JSON"),
        (frame(b"[" * 100_000, b""), "no JSON"),
        (frame(b"[]", b""), "no JSON object"),
        (frame(b"{}", b"1234"), "belong to no array"),
        (frame(json.dumps({"arrays": [["int8", [5]]]}).encode(), b"1234"), "beyond its 4 bytes"),
        (
            frame(json.dumps({"arrays": [["int8", [2**31, 2**31, 2**31]]]}).encode(), b""),
            "beyond its 0 bytes",
        ),
        (frame(json.dumps({"arrays": [["int8", [-4, -1]]]}).encode(), b"1234"), "which cannot be"),
        (frame(json.dumps({"arrays": [["object", [4]]]}).encode(), b"1234"), "which cannot be"),
        (frame(json.dumps({"arrays": [["V4", [1]]]}).encode(), b"1234"), "which cannot be"),
        (frame(json.dumps({"arrays": [["int8", [True]]]}).encode(), b"1"), "which cannot be"),
        (frame(json.dumps({"arrays": [["int8", "4"]]}).encode(), b"1234"), "which cannot be"),
        (frame(json.dumps({"arrays": {"a": 1}}).encode(), b""), "which cannot be"),
        (frame(json.dumps({"arrays": 7}).encode(), b""), "which cannot be"),
        (frame(json.dumps({"arrays": [[{}, []]]}).encode(), b""), "which cannot be"),
    ],
)
def test_what_is_no_frame_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(wire.BrokenFrame, match=words):
        reread(content)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    with pytest.raises((wire.BrokenFrame, EOFError)):
        reread(noise)


def test_the_end_before_a_frame_is_the_end() -> None:
    with pytest.raises(EOFError):
        reread(b"")


def test_a_receiver_says_how_much_it_takes() -> None:
    content = packed({}, [np.zeros(100, np.int8)])
    assert reread(content, 100).arrays[0].size == 100
    with pytest.raises(wire.BrokenFrame, match="announces"):
        reread(content, 99)


def test_too_much_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_PAYLOAD", 10)
    with pytest.raises(wire.BrokenFrame, match="too large to send"):
        wire.pack({}, [np.zeros(11, np.int8)])


def test_a_damaged_frame_is_read_or_refused() -> None:
    """Also one whose header says something else, whole."""
    whole = packed({"do": "run", "outputs": [0]}, [np.arange(12, dtype=np.float32)])
    (size,) = struct.unpack_from("<I", whole, 12)
    header, payload, refused = whole[24 : 24 + size], whole[24 + size :], 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        if seed % 2:
            other = document(header, rng)
            content = whole[:12] + struct.pack("<I", len(other)) + whole[16:24] + other + payload
        else:
            content = binary(whole, rng)
        try:
            reread(content)
        except (wire.BrokenFrame, EOFError):
            refused += 1
    assert 200 < refused < 400
