"""What a file is, told by its name and its first bytes, before any runtime sees it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import flatbuffers
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from tests.support.models import onnx_models, tflite_models, torch_models

from edgeq.errors import ArtefactError
from edgeq.formats.artefact import detect, files_behind, in_float, resolve, size_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One good file of each format."""
    onnx_models.save(onnx_models.qdq_model(), tmp_path / "model.onnx")
    (tmp_path / "model.tflite").write_bytes(tflite_models.int8_model())
    (tmp_path / "model.safetensors").write_bytes(torch_models.checkpoint_content())
    return tmp_path


def test_every_format_is_known_by_its_content(folder: Path) -> None:
    assert {
        name: detect(folder / f"model.{name}") for name in ("onnx", "tflite", "safetensors")
    } == {
        "onnx": "onnx",
        "tflite": "tflite",
        "safetensors": "checkpoint",
    }


@pytest.mark.parametrize("named", ["onnx", "tflite", "safetensors"])
@pytest.mark.parametrize("really", ["onnx", "tflite", "safetensors"])
def test_a_renamed_file_is_refused(folder: Path, named: str, really: str) -> None:
    renamed = folder / f"renamed.{named}"
    renamed.write_bytes((folder / f"model.{really}").read_bytes())
    if named == really:
        assert detect(renamed)
        return
    with pytest.raises(ArtefactError, match="first bytes"):
        detect(renamed)


@pytest.mark.parametrize(
    "content",
    [b"\x08", b"GIF89a" * 9, b"TFL3", struct.pack("<Q", 2**60) + b"{}", b"\0" * 64, b"{}" * 40],
)
@pytest.mark.parametrize("suffix", ["tflite", "safetensors"])
def test_other_content_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="first bytes"):
        detect(path)


def test_empty_missing_and_unnamed_files(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "nothing").write_bytes(b"x")
    with pytest.raises(ArtefactError, match="zero bytes"):
        detect(tmp_path / "empty.onnx")
    with pytest.raises(ArtefactError, match="there is no artefact"):
        detect(tmp_path / "none.onnx")
    with pytest.raises(ArtefactError, match="there is no artefact"):
        detect(tmp_path)
    for name in ("model.pt", "nothing"):
        with pytest.raises(ArtefactError, match=r"\.safetensors, \.onnx, \.tflite"):
            detect(tmp_path / name)


def test_a_file_beyond_the_format_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large.onnx").open("wb") as file:
        file.write(b"\x08")
        file.truncate(2**31 + 1)
    with pytest.raises(ArtefactError, match="more than a model file"):
        detect(tmp_path / "large.onnx")


class TestResolve:
    def test_a_file_is_itself(self, folder: Path) -> None:
        assert resolve(folder / "model.onnx") == folder / "model.onnx"

    def test_a_run_stands_for_its_best_then_its_last_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "last.safetensors").write_bytes(b"x")
        assert resolve(tmp_path).name == "last.safetensors"
        (tmp_path / "best.safetensors").write_bytes(b"x")
        assert resolve(tmp_path).name == "best.safetensors"

    def test_a_folder_without_one(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="holds no checkpoint"):
            resolve(tmp_path)

    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="there is no artefact"):
            resolve(tmp_path / "none")


def test_a_tflite_file_without_a_grid_is_in_float(tmp_path: Path) -> None:
    quantized, floats = tmp_path / "q.tflite", tmp_path / "f.tflite"
    quantized.write_bytes(tflite_models.int8_model())
    model: Any = schema.ModelT.InitFromPackedBuf(quantized.read_bytes())
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization = None
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    floats.write_bytes(bytes(packer.Output()))
    assert not in_float(quantized)
    assert in_float(floats)


def test_weights_beside_a_model_count(tmp_path: Path) -> None:
    model = onnx_models.float_model()
    alone = onnx_models.save(model, tmp_path / "alone.onnx")
    assert files_behind(alone) == [alone]
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert files_behind(path) == [path, tmp_path / "net.data"]
    assert size_of(path) == sum(each.stat().st_size for each in files_behind(path))
    (tmp_path / "net.data").unlink()
    assert files_behind(path) == [path]
