"""CIFAR's pickles are read in the form Python 2 wrote them.

Anything else they ask for is refused and never runs.
"""

from __future__ import annotations

import os
import pickle
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq.data.readers.unpickle import read_pickled_mapping
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode("latin1")


def python2_pickle(images: NDArray[np.uint8], labels: list[int]) -> bytes:
    """Protocol 2 as cPickle of Python 2 writes it: byte strings, and NumPy's old module name."""
    integers = b"".join(b"K" + bytes([label]) for label in labels)
    raw = images.tobytes()
    shape = b"M" + struct.pack("<H", images.shape[0]) + b"M" + struct.pack("<H", images.shape[1])
    dtype = (
        b"cnumpy\ndtype\n"
        + text("u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    )
    state = (
        b"(K\x01" + shape + b"\x86" + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )
    return (
        b"\x80\x02}q\x00("
        + text("data")
        + array
        + state
        + text("labels")
        + b"]("
        + integers
        + b"e"
        + b"u."
    )


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 12) * 10


def written(folder: Path, content: bytes) -> Path:
    path = folder / "data_batch_1"
    path.write_bytes(content)
    return path


def test_reads_what_python_2_wrote(tmp_path: Path) -> None:
    content = read_pickled_mapping(written(tmp_path, python2_pickle(IMAGES, [3, 7])))
    data = content["data"]
    assert isinstance(data, np.ndarray)
    assert np.array_equal(data, IMAGES)
    assert content["labels"] == [3, 7]


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_what_python_3_wrote(tmp_path: Path, protocol: int, order: Any) -> None:
    path = written(tmp_path, pickle.dumps({"data": np.array(IMAGES, order=order)}, protocol))
    data = read_pickled_mapping(path)["data"]
    assert isinstance(data, np.ndarray)
    assert np.array_equal(data, IMAGES)


class Runs:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], tuple(self.call[1:])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_by_name_and_does_not_run(
    tmp_path: Path, protocol: int
) -> None:
    victim = tmp_path / "victim"
    path = written(tmp_path, pickle.dumps({"data": Runs(os.system, f"touch {victim}")}, protocol))
    with pytest.raises(ArtefactError, match=r"wants to call (posix|nt)\.system"):
        read_pickled_mapping(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    "call",
    [
        (eval, "1"),
        (getattr, 1, "real"),
        (np.frombuffer, b"12"),
        (np.load, "x.npy"),
        (__import__, "os"),
        (np.array, [1]),
    ],
)
def test_only_four_names_are_known(tmp_path: Path, call: tuple[Any, ...]) -> None:
    with pytest.raises(ArtefactError, match="wants to call"):
        read_pickled_mapping(written(tmp_path, pickle.dumps({"data": Runs(*call)}, 2)))


def test_an_allowed_name_with_a_hostile_argument_allocates_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, pickle.dumps({"data": Runs(np.ndarray, (2**40,))}, 2))
    with pytest.raises(ArtefactError, match="no published CIFAR file"):
        read_pickled_mapping(path)


def test_a_memo_slot_far_away_is_refused_before_the_memo_grows(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="memo slot 4294967295"):
        read_pickled_mapping(written(tmp_path, b"\x80\x02}r\xff\xff\xff\xff."))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1, 2], 2),
        pickle.dumps({1: 2}, 2),
        pickle.dumps({"data": np.zeros((2, 3), np.int64)}, 4),
        pickle.dumps({"data": np.array([{}], object)}, 4),
        python2_pickle(IMAGES, [1])[:-20],
        b"not a pickle at all",
        b"\x80\x02K\x01.",
        python2_pickle(IMAGES, [1])
        .replace(b"K\x00\x85", b"K\x05\x85")
        .replace(b"M\x02\x00", b"M\x09\x00"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArtefactError, match="no published CIFAR file"):
        read_pickled_mapping(written(tmp_path, content))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(python2_pickle(IMAGES, [3, 7]))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ArtefactError):
        read_pickled_mapping(written(tmp_path, bytes(content)))
