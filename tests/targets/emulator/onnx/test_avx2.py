"""The AVX2 profile against the real thing, ONNX Runtime's own AVX2 kernels.

Every integer of products, sums, means and networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantFormat
from tests.support.models.qdq_models import Graph, Grid
from tests.support.models.qoperator_models import LEAST, everything, quantized, residual
from tests.support.models.x86_graphs import MAKERS, outputs_of
from tests.support.runtimes.avx2 import PROCESSORS, SCALE, answers, between, in_qdq, predicted

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import load, normalize
from edgeq.errors import TargetError
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.models import zoo
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Case = tuple[onnx.ModelProto, NDArray[np.float32]]
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)

# ---- sums, means and functions -------------------------------------------------------------------


def _elementwise() -> dict[str, Case]:
    """Whole ranges, scales with many ties, and zero points that are added before rounding."""
    cases: dict[str, Case] = {}
    grid: list[tuple[str, Any]] = [("ys", None), ("yz", None)]
    for kind in ("uint8", "int8"):
        whole = (np.arange(256) + LEAST[kind]).astype(kind)
        first = ((np.repeat(np.arange(256), 256).reshape(1, 256, 256) - 17) * SCALE).astype(
            np.float32
        )
        second = np.tile(whole, 256).reshape(1, 256, 256)
        small = (np.random.default_rng(5).integers(0, 256, (2, 3, 9, 8)) - 17) * SCALE
        for number, (b, out, zero) in enumerate(
            (
                (SCALE, 2 * SCALE, 100),
                (SCALE, 2 * SCALE, 101),
                (3 * SCALE, 4 * SCALE, 7),
                (0.021, 0.063, 200),
            )
        ):
            other = [
                ("b", second),
                ("bs", np.float32(b)),
                ("bz", np.array(130 + LEAST[kind], kind)),
            ]
            one = [("b", np.array([77 + LEAST[kind]], kind)), *other[1:]]
            built = {
                "add": between("QLinearAdd", kind, (256, 256), [*other, *grid], (out, zero), 17),
                "add-one": between("QLinearAdd", kind, (256, 256), [*one, *grid], (out, zero), 17),
                "mul": between(
                    "QLinearMul", kind, (256, 256), [*other, *grid], (out * SCALE * 30, zero), 17
                ),
            }
            for form in ("qoperator", "qdq"):
                cases |= {
                    f"{name}-{kind}-{number}-{form}": (
                        model if form == "qoperator" else in_qdq(model),
                        first,
                    )
                    for name, model in built.items()
                }
            pools = {
                "pool": between(
                    "QLinearAveragePool",
                    kind,
                    (3, 9, 8),
                    grid,
                    (out / 2, zero),
                    17,
                    kernel_shape=[2, 2],
                    pads=[1, 1, 0, 0],
                ),
                "pool-steps": between(
                    "QLinearAveragePool",
                    kind,
                    (3, 9, 8),
                    grid,
                    (out / 2, zero),
                    17,
                    kernel_shape=[3, 2],
                    strides=[2, 1],
                ),
                "mean": between(
                    "QLinearGlobalAveragePool", kind, (3, 9, 8), grid, (out / 16, zero), 17
                ),
            }
            for form in ("qoperator", "qdq"):
                cases |= {
                    f"{name}-{kind}-{number}-{form}": (
                        model if form == "qoperator" else in_qdq(model),
                        small.astype(np.float32),
                    )
                    for name, model in pools.items()
                }
        functions = {
            "leaky": between(
                "QLinearLeakyRelu", kind, (256,), grid, (SCALE / 3, 11), 17, alpha=0.13
            ),
            "sigmoid": between("QLinearSigmoid", kind, (256,), grid, (1 / 256, 0), 17),
            **{
                f"softmax-{scale}": between(
                    "QLinearSoftmax", kind, (256,), grid, (scale, 0), 200, axis=-1, opset=17
                )
                for scale in (1 / 256, 0.0007)
            },
        }
        line = ((np.arange(256)[None] - 17) * SCALE).astype(np.float32)
        cases |= {f"{name}-{kind}": (model, line) for name, model in functions.items()}
        cases |= {f"{name}-{kind}-qdq": (in_qdq(model), line) for name, model in functions.items()}
    return cases


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_integer_of_sums_means_and_functions_is_predicted(
    processor: Sequence[str], tmp_path: Path
) -> None:
    cases = _elementwise()
    expected = answers(processor, tmp_path, cases)
    wrong = {
        name: int((predicted(tmp_path, *case)[0] != expected[name]).sum())
        for name, case in cases.items()
    }
    assert {name: count for name, count in wrong.items() if count} == {}


# ---- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_output_of_a_network_is_predicted(processor: Sequence[str], tmp_path: Path) -> None:
    """Networks of 8-bit weights, their residual sums, concatenation and pooling included."""
    source = load("digits")
    images = normalize(source.test.images[:40], source)
    cases: dict[str, Case] = {}
    for name in ("resnet8", "stable-resnet8"):
        torch.manual_seed(1)
        module = lower(zoo.build(name, classes=10, in_channels=1), (1, 8, 8))
        network = quantize_onnx(
            module,
            [normalize(source.train.images[:64], source)],
            CalibrationConfig(pair_safe=False),
        )
        cases[name] = onnx.load_model_from_string(serialize(network)), images
    expected = answers(processor, tmp_path, cases)
    for name, case in cases.items():
        found, stats = predicted(tmp_path, *case)
        assert np.array_equal(found, expected[name]), name
        assert stats.pairs > 0


@pytest.mark.parametrize("processor", PROCESSORS)
def test_files_by_onnx_runtimes_quantizer_are_predicted(
    processor: Sequence[str], tmp_path: Path
) -> None:
    cases: dict[str, Case] = {}
    for name, (net, output) in {"everything": everything(), "residual": residual()}.items():
        for form in (QuantFormat.QOperator, QuantFormat.QDQ):
            for activations, weights in (("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")):
                if form is QuantFormat.QDQ and activations == "int8":
                    continue  # float, since residual sums read them too
                path = quantized(
                    tmp_path,
                    net.model(output),
                    net.samples(8),
                    activations=activations,
                    weights=weights,
                    form=form,
                )
                cases[f"{name}-{path.stem}"] = onnx.load(path), 2 * net.samples(5)
    expected = answers(processor, tmp_path, cases)
    wrong = {
        name: int((predicted(tmp_path, *case)[0] != expected[name]).sum())
        for name, case in cases.items()
    }
    assert wrong == dict.fromkeys(cases, 0)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_graphs_of_which_some_operators_stay_in_float_are_predicted_or_refused_by_name(
    processor: Sequence[str], tmp_path: Path
) -> None:
    cases: dict[str, Case] = {}
    for made in MAKERS:
        for kind in ("uint8", "int8"):
            graph = made(kind)
            model = graph.proto(outputs_of(graph)[0], opset=18)
            shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
            cases[f"{made.__name__}-{kind}"] = (
                model,
                np.random.default_rng(1).uniform(-7, 7, (6, *shape[1:])).astype(np.float32),
            )
    expected, refused = answers(processor, tmp_path, cases), set()
    for name, case in cases.items():
        try:
            found, _ = predicted(tmp_path, *case)
        except TargetError as error:
            assert "ONNX Runtime computes Conv" in error.what  # noqa: PT017
            refused.add(name)
        else:
            assert np.array_equal(found, expected[name]), name
    assert refused == {"residual-int8", "mixed-uint8", "clipped-int8", "clipped-uint8"}


def test_convolutions_that_onnx_runtime_leaves_in_float_are_refused_by_name(tmp_path: Path) -> None:
    net, output = residual()
    path = quantized(
        tmp_path, net.model(output), net.samples(8), activations="int8", form=QuantFormat.QDQ
    )
    with pytest.raises(
        TargetError,
        match="ONNX Runtime computes Conv 'conv0' in float on this machine: it reads uint8 and "
        "gives int8",
    ) as caught:
        TARGETS.load("emulator:avx2").open(path)
    assert "edgeq export FILE --for emulator:avx2" in caught.value.hint


def test_interpolation_of_integers_is_refused(tmp_path: Path) -> None:
    """Between equal grids ONNX Runtime drops the quantisers and uses a kernel for bytes."""
    graph = Graph()
    x = graph.input("x", [1, 4, 6, 6], Grid(0.05, 128))
    graph.op(
        "Resize",
        [x, "", graph.scales_of("factors", [1, 1, 2, 2])],
        "y",
        Grid(0.05, 128),
        mode="linear",
    )
    onnx.save(graph.proto("y_dequantized", opset=18), tmp_path / "net.onnx")
    with pytest.raises(TargetError, match="no arithmetic of avx2 for Resize"):
        TARGETS.load("emulator:avx2").open(tmp_path / "net.onnx")
