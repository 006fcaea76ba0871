"""Data sets are found by name or folder; what cannot be found says what to do."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgeq.data import DATASETS, info, load
from edgeq.errors import ArtefactError, UnknownName, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_ours_are_registered() -> None:
    ours = {
        "digits",
        "mnist",
        "cifar10",
        "cifar100",
        "cifar10-jpeg",
        "cifar10-lossless",
        "tiny-imagenet100-32",
    }
    assert ours <= set(DATASETS.names())
    assert {DATASETS.load(name).name for name in ours} == ours


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        load("cifar-10")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no folder and no file at"):
        load(str(tmp_path / "nothing"))


def test_no_data_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEQ_DATA", raising=False)
    with pytest.raises(UsageError, match="set EDGEQ_DATA"):
        load("mnist")


def test_the_named_data_folder_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEQ_DATA", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="does not exist"):
        load("mnist")


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEQ_DATA", str(tmp_path))
    with pytest.raises(ArtefactError, match=f"'mnist' is not in {tmp_path}"):
        load("mnist")


def test_info_says_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "cifar10-lossless").mkdir()
    for part in ("train", "test"):
        (tmp_path / "cifar10-lossless" / f"{part}.npz").write_bytes(b"never opened")
    found = {entry.name: entry for entry in info(tmp_path)}
    assert found["cifar10-lossless"].available
    assert found["digits"].available
    assert not found["digits"].needs_root
    assert not found["cifar10"].available
    assert "cifar-10-batches-py/batches.meta" in found["cifar10"].why_not
    assert (found["tiny-imagenet100-32"].classes, found["tiny-imagenet100-32"].shape) == (
        100,
        (3, 32, 32),
    )


def test_info_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEQ_DATA", raising=False)
    assert {entry.why_not for entry in info() if entry.needs_root} == {"EDGEQ_DATA is not set"}


def test_info_agrees_with_what_is_loaded(data_dir: Path) -> None:
    for entry in info(data_dir):
        if entry.available and entry.name in ("digits", "mnist", "cifar10-lossless"):
            source = load(entry.name, data_dir)
            assert (entry.name, entry.classes, entry.shape) == (
                source.name,
                len(source.classes),
                source.shape,
            )


def test_a_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, edgeq.data as d; d.info(); print({'torch', 'PIL', 'onnx'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )
