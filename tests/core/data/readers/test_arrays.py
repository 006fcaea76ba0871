"""A broken or hostile .npz file gives arrays or a message for people, and nothing else."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeq.data.readers.arrays import read_npz
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=np.arange(600, dtype=np.uint8).reshape(10, 60),
        labels=np.arange(10),
        classes=np.array(["a", "b"]),
    )
    return buffer.getvalue()


def test_reads_every_array_back(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(
        path,
        x=np.arange(6, dtype=np.int16).reshape(2, 3),
        names=np.array(["one", "two"]),
        nothing=np.empty((0, 4)),
        number=np.float32(2),
    )
    content = read_npz(path, "data set")
    assert content["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert content["names"].tolist() == ["one", "two"]
    assert content["nothing"].shape == (0, 4)
    assert content["number"] == 2
    assert content["x"].flags.writeable


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no data set at"):
        read_npz(tmp_path / "a.npz", "data set")


@pytest.mark.parametrize("content", [b"", b"hello", npz_bytes()[:200], npz_bytes()[:-30]])
def test_a_file_that_is_no_npz_or_was_cut_off(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"no readable \.npz"):
        read_npz(path, "data set")


def test_python_objects_are_refused_and_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("the pickle ran",))

    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([Bomb()], object))
    with pytest.raises(ArtefactError, match="Python objects"):
        read_npz(path, "data set")


def test_a_header_that_states_a_terabyte_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**40,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"short")
    with pytest.raises(ArtefactError, match="states the shape"):
        read_npz(path, "data set")


def test_more_bytes_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(100_000, np.uint8))
    assert path.stat().st_size < 10_000
    with pytest.raises(ArtefactError, match="unpacks to more than"):
        read_npz(path, "data set", limit=50_000)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(npz_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with suppress(ArtefactError):
        read_npz(path, "data set")
