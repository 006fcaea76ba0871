"""A file goes in, good or bad.

What comes out of a good one answers as the float model does on real data.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import read

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., dict[str, NDArray[Any]]]


def raw_images(data_dir: Path, split: str) -> tuple[NDArray[np.float32], NDArray[np.integer[Any]]]:
    with np.load(data_dir / "cifar10-lossless" / f"{split}.npz") as content:
        return content["images"].transpose(0, 3, 1, 2).astype(np.float32), content["labels"]


def loses(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The exact p-value that the second is right as often as the first.

    It counts losses only: a calibrated model that happens to answer more of them right has kept its
    accuracy.
    """
    lost, won = int((first & ~second).sum()), int((~first & second).sum())
    return sum(comb(lost + won, k) for k in range(lost, lost + won + 1)) / float(2 ** (lost + won))


@pytest.mark.parametrize("observer", ["minmax", "percentile", "minmax-percentile"])
def test_resnet8_keeps_its_accuracy(observer: str, data_dir: Path, run: Run) -> None:
    path = data_dir / "models" / "resnet8-float.onnx"
    train, _ = raw_images(data_dir, "train")
    float_model = read(path)
    made = quantize_onnx(
        float_model,
        np.array_split(train[:256], 8),
        CalibrationConfig(observer),
        data="CIFAR-10, training images 0-255",
    )
    images, labels = raw_images(data_dir, "test")
    name = made.graph.outputs[0].name or ""
    right = [_answers(model, images, name) == labels for model in (float_model, made)]
    assert right[0].mean() == pytest.approx(0.878)
    assert loses(*right) > 0.025
    assert abs(right[0].mean() - right[1].mean()) <= 0.02


def _answers(model: ir.Model, images: NDArray[np.float32], name: str) -> NDArray[np.int64]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (source,) = session.get_inputs()
    scores = [np.asarray(session.run([name], {source.name: image[None]})[0]) for image in images]
    answers: NDArray[np.int64] = np.concatenate(scores).argmax(axis=1)
    return answers


def test_only_losses_count() -> None:
    agree = np.ones(400, bool)
    half = np.arange(400) % 2 == 0
    assert loses(agree, agree) == 1.0
    assert loses(agree, half) < 1e-20
    assert loses(half, agree) == 1.0
    assert 0.4 < loses(half, ~half) < 0.6


def test_a_file_is_calibrated(
    stable_net: ir.Model, images: NDArray[np.float32], tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "net.onnx"
    ir.save(stable_net, path)
    made = quantize_onnx(read(path), [images], data="noise")
    assert made.metadata_props["calibration"] == "noise; 64 samples; minmax"
    assert run(made, images)["y"].shape == (64, 10)


def test_weights_beside_the_model_are_read(
    stable_net: ir.Model, images: NDArray[np.float32], tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(
        ir.to_proto(stable_net),
        path,
        save_as_external_data=True,
        location="net.bin",
        size_threshold=0,
    )
    assert (tmp_path / "net.bin").stat().st_size > 0
    np.testing.assert_array_equal(run(read(path), images)["y"], run(stable_net, images)["y"])


@pytest.mark.parametrize("way", ["parent", "absolute", "link", "missing"])
def test_weights_elsewhere_are_refused(way: str, stable_net: ir.Model, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    proto = ir.to_proto(stable_net)
    onnx.save(
        proto, folder / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0
    )
    outside = tmp_path / "secret.bin"
    (folder / "net.bin").rename(outside)
    locations = {
        "parent": "../secret.bin",
        "absolute": str(outside),
        "link": "net.bin",
        "missing": "net.bin",
    }
    if way == "link":
        (folder / "net.bin").symlink_to(outside)
    moved = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = locations[way]
    (folder / "net.onnx").write_bytes(moved.SerializeToString())
    with pytest.raises(
        ArtefactError, match="is missing" if way == "missing" else "outside the model's folder"
    ):
        read(folder / "net.onnx")


def test_weights_that_end_too_early_are_refused(stable_net: ir.Model, tmp_path: Path) -> None:
    onnx.save(
        ir.to_proto(stable_net),
        tmp_path / "net.onnx",
        save_as_external_data=True,
        location="net.bin",
        size_threshold=0,
    )
    (tmp_path / "net.bin").write_bytes((tmp_path / "net.bin").read_bytes()[:100])
    with pytest.raises(ArtefactError):
        read(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.onnx", b"", "zero bytes"),
        ("text.onnx", b"no model at all", "not an ONNX file"),
        ("head.onnx", b"\x08\x0a\x3a\xff\xff\xff\xff\x0f", "no ONNX model"),
        ("net.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(32), "not an ONNX file"),
        ("net.bin", b"\x08\x0a", "none of the endings"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=message) as caught:
        read(tmp_path / name)
    assert caught.value.hint


def test_a_missing_file_and_a_truncated_one_are_refused(
    stable_net: ir.Model, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match="no artefact"):
        read(tmp_path / "absent.onnx")
    content = ir.to_proto(stable_net).SerializeToString()
    for share in (0.1, 0.5, 0.9, 0.99):
        (tmp_path / "cut.onnx").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ArtefactError):
            read(tmp_path / "cut.onnx")


def test_a_weight_that_claims_more_than_it_has_is_refused(
    stable_net: ir.Model, tmp_path: Path
) -> None:
    proto = ir.to_proto(stable_net)
    next(tensor for tensor in proto.graph.initializer if tensor.name == "fc.weight").dims[0] = 2**40
    (tmp_path / "huge.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ArtefactError):
        read(tmp_path / "huge.onnx")
