"""Models that other tools quantised.

No number changes on the way to TFLite, and each operator is within 1 LSB on equal integers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from tests.support.models.mobilenet import SMALL, MobileNetV2, float_onnx
from tests.support.runtimes.calibration import Feeds

from edgeq.calibration.quantize import fold_onnx
from edgeq.data import DataSource, Preprocessing, Split, load
from edgeq.deploy.evaluation.verify import verify
from edgeq.deploy.pipeline.export import export
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.models import pretrained, zoo
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.target import TARGETS

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

BREVITAS = Path(__file__).parent.parent / "data" / "brevitas-qcdq.onnx"
SIZE = 32
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def random_images(size: int, samples: int = 4) -> DataSource:
    rng = np.random.default_rng(1)
    images = np.clip(rng.normal(128, 50, (samples, size, size, 3)), 0, 255).astype(np.uint8)
    part = Split({"": images}, np.zeros(samples, np.int64), np.arange(samples))
    return DataSource(
        "random images", ("none",), part, part, part, Preprocessing.normalized(MEAN, STD)
    )


def calibration(size: int) -> Feeds:
    """A few random images, one by one."""
    rng = np.random.default_rng(0)
    return Feeds(
        {"input": rng.normal(0, 1, (1, 3, size, size)).astype(np.float32)} for _ in range(8)
    )


def quantized(
    model: ir.Model,
    folder: Path,
    activations: QuantType,
    weights: QuantType = QuantType.QInt8,
    *,
    per_channel: bool,
) -> Path:
    """The model as ONNX Runtime's own tool quantises it."""
    (folder / "float.onnx").write_bytes(serialize(model))
    quantize_static(
        folder / "float.onnx",
        folder / "quantized.onnx",
        calibration(SIZE),
        quant_format=QuantFormat.QDQ,
        activation_type=activations,
        weight_type=weights,
        per_channel=per_channel,
    )
    return folder / "quantized.onnx"


def float_network(name: str, request: pytest.FixtureRequest) -> ir.Model:
    if name == "mobilenetv2":
        return float_onnx(MobileNetV2(SMALL, last=128, stem_stride=1, classes=10), SIZE)
    network = zoo.build("resnet20-a", classes=10)
    pretrained.load_npz_weights(
        network, request.getfixturevalue("data_dir") / "models" / "resnet20-cifar10.npz"
    )
    return fold_onnx(lower(network.eval(), (3, SIZE, SIZE)))


def check(path: Path, source: DataSource, least: int) -> None:
    """0 differences among at least so many numbers, and at most 1 LSB an operator."""
    model = read_as_qdq(path)
    exported = exporter.export(model, ExportOptions())
    assert exported.parity.different == ()
    assert exported.parity.compared > least
    assert exported.approximations == ()
    verification = verify(model, exported, source, limit=4)
    verification.require()
    assert sum(tensor.compared for tensor in verification.tensors) > 1000


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)
@pytest.mark.parametrize(
    "per_channel",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["per tensor", "per channel"],
)
@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8], ids=["uint8", "int8"])
@pytest.mark.parametrize(("network", "least"), [("resnet20", 250_000), ("mobilenetv2", 40_000)])
def test_onnx_runtimes_quantizer(
    network: str,
    least: int,
    activations: QuantType,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    *,
    per_channel: bool,
) -> None:
    path = quantized(
        float_network(network, request), tmp_path, activations, per_channel=per_channel
    )
    check(path, random_images(SIZE), least)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)
def test_weights_off_centre_are_refused_by_name(tmp_path: Path) -> None:
    """ONNX Runtime's uint8 weights have any zero point, and int8 kernels want 0.

    Nothing exact can be written.
    """
    torch.manual_seed(0)
    path = quantized(
        float_onnx(MobileNetV2(SMALL, last=128, stem_stride=1, classes=10), SIZE),
        tmp_path,
        QuantType.QUInt8,
        QuantType.QUInt8,
        per_channel=False,
    )
    with pytest.raises(ArtefactError, match="zero point that int8 cannot"):
        exporter.export(read_as_qdq(path), ExportOptions())


def test_brevitas_qcdq() -> None:
    """Narrow weights behind a Clip of constants, 4-bit activations, biases in int32."""
    check(BREVITAS, random_images(16), 1_000)


def test_the_tiny_benchmarks_network_keeps_its_accuracy(data_dir: Path, tmp_path: Path) -> None:
    """MLPerf Tiny's image classification, raw pixels, on the 500 lossless test images.

    XNNPACK rounds once, as ONNX does, and answers alike on every image. The other kernels round
    twice (``docs/decisions/0005-double-rounding.md``): the reference kernels lose one image by it.
    """
    (written,) = export(
        data_dir / "models" / "resnet8-qdq.onnx", ["tflite"], tmp_path, ExportOptions()
    )
    assert written.parity.different == ()
    source = load("cifar10-lossless", data_dir)
    images = source.test.images[:].transpose(0, 3, 1, 2).astype(np.float32)
    answers = {
        name: best(name, data_dir / "models" / "resnet8-qdq.onnx", images)
        for name in ("ort-cpu-ref", "ort-cpu")
    }
    answers |= {
        name: best(name, written.path, images)
        for name in ("tflite-ref", "tflite-builtin", "tflite")
    }
    right = {
        name: int((found == source.test.class_labels).sum()) for name, found in answers.items()
    }
    assert len(source.test) == 500
    assert right["ort-cpu-ref"] > 430
    assert np.array_equal(answers["tflite"], answers["ort-cpu-ref"])
    assert all(abs(count - right["ort-cpu-ref"]) <= 1 for count in right.values()), right
    raw = source.with_normalization((0.0,) * 3, (1 / 255,) * 3)
    check(data_dir / "models" / "resnet8-qdq.onnx", raw, 77_000)


def best(target: str, path: Path, images: NDArray[np.float32]) -> NDArray[np.int64]:
    with TARGETS.load(target).open(path) as session:
        found: NDArray[np.int64] = session.run(images).argmax(1)
        return found


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)
def test_islands_are_verified_with_the_rest(tmp_path: Path) -> None:
    """Compare float regions between quantised tensors, in steps of the second one."""
    torch.manual_seed(0)
    network = float_onnx(MobileNetV2(SMALL, last=128, stem_stride=1, classes=10), SIZE)
    (tmp_path / "plain.onnx").write_bytes(serialize(network))
    quantize_static(
        tmp_path / "plain.onnx",
        tmp_path / "convolutions.onnx",
        calibration(SIZE),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
    )
    model = read_as_qdq(tmp_path / "convolutions.onnx")
    exported = exporter.export(model, ExportOptions(allow_float=True))
    assert exported.in_float is not None
    assert exported.parity.different == ()
    verification = verify(model, exported, random_images(SIZE), limit=2)
    verification.require()
    assert len(verification.tensors) > 10
