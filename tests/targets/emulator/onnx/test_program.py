"""QDQ ONNX files in the emulator.

Not one integer differs from ONNX Runtime without optimisation, in any tensor.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # hypothesis reads the types of what it is given
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from tests.contract.test_exactness import images, network
from tests.exporters.tflite.test_random_graphs import CALM, SIZE, Recipe, recipes
from tests.support.models.qdq_models import S8, Graph, Grid
from tests.support.runtimes.emulation import differing

from edgeq.errors import ArtefactError
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.targets.emulator import emulator
from edgeq.targets.ort import cpu_reference
from edgeq.training.recipes.scheme import Scheme


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulated")


def saved(graph: Graph, folder: Path, opset: int = 21) -> Path:
    path = folder / "model.onnx"
    onnx.save(graph.proto(graph.nodes[-1].output[0], opset=opset), path)
    return path


def check(recipe: Recipe, folder: Path) -> None:
    graph = recipe.build()
    batch = (
        np.random.default_rng(0).normal(0, 60, (2, 4, SIZE, SIZE))
        * graph.scales["image_dequantized"]
    )
    found = differing(saved(graph, folder), cpu_reference, emulator, batch.astype(np.float32))
    if found:
        pytest.fail(f"{found}:\n\n{recipe.script('reference')}\n", pytrace=False)


@settings(max_examples=30, deadline=None, suppress_health_check=CALM)
@given(recipe=recipes(8))
def test_no_integer_of_random_graphs_differs(recipe: Recipe, folder: Path) -> None:
    check(recipe, folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=2000, deadline=None, suppress_health_check=CALM)
@given(recipe=recipes(30))
def test_nor_of_thousands_of_large_ones(recipe: Recipe, folder: Path) -> None:
    check(recipe, folder)


NETWORKS = pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("resnet8", Scheme(4, 4)),
        ("stable-resnet8", Scheme(8, 8)),
        ("stable-resnet20", Scheme(4, 8)),
        *(
            pytest.param(name, scheme, marks=pytest.mark.slow)
            for name in ("resnet20", "stable-resnet20-certified", "resnet56")
            for scheme in (Scheme(8, 8), Scheme(4, 8), Scheme(4, 4))
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Scheme) else value,
)


@NETWORKS
def test_no_integer_of_a_network_differs(name: str, scheme: Scheme, folder: Path) -> None:
    path = folder / "network.onnx"
    path.write_bytes(serialize(lower(network(name, scheme), (3, 32, 32))))
    assert differing(path, cpu_reference, emulator, images(2, (3, 32, 32))) == {}


def test_no_integer_of_a_published_network_differs(data_dir: Path) -> None:
    """The ResNet-8 of MLPerf Tiny, as ONNX Runtime's quantizer wrote it."""
    batch = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32)).astype(np.float32)
    assert differing(data_dir / "models" / "resnet8-qdq.onnx", cpu_reference, emulator, batch) == {}


HALVES: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


@pytest.mark.parametrize("opset", [13, 18, 19, 21])
@pytest.mark.parametrize(
    "attributes",
    [
        HALVES,
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [3, 3]},
        {"kernel_shape": [6, 6]},
    ],
    ids=["halves", "padded", "far", "whole"],
)
def test_means_that_lie_on_ties_fall_to_the_right_side(
    opset: int, attributes: dict[str, Any], folder: Path
) -> None:
    graph = Graph()
    graph.op("AveragePool", [graph.input("x", ["N", 8, 6, 6], S8)], "y", S8, **attributes)
    batch = (np.random.default_rng(0).integers(-128, 128, (64, 8, 6, 6)) * S8.scale).astype(
        np.float32
    )
    assert differing(saved(graph, folder, opset), cpu_reference, emulator, batch) == {}


@pytest.mark.parametrize("axes", [[1], [2], [3], [1, 2], [2, 3], [1, 3], [1, 2, 3]])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean"])
def test_sums_over_axes_are_rounded_alike(op: str, axes: list[int], folder: Path) -> None:
    graph = Graph()
    x = graph.input("x", ["N", 6, 7, 9], S8)
    listed = [graph.ints("axes", axes)]
    graph.op(op, [x, *listed], "y", Grid(0.01 if op == "ReduceMean" else 0.05, 128))
    batch = (np.random.default_rng(0).integers(-128, 128, (16, 6, 7, 9)) * S8.scale).astype(
        np.float32
    )
    assert differing(saved(graph, folder), cpu_reference, emulator, batch) == {}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("op", ["", "Conv", "ConvTranspose"])
def test_a_normalization_in_float_is_computed_in_float(
    op: str, per_channel: bool, bias: bool, folder: Path
) -> None:
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], S8)
    if op:
        weights = graph.rng.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
        scale = graph.rng.uniform(0.001, 0.003, 4 if per_channel else ()).astype(np.float32)
        inputs = [x, graph.stored("w", weights, scale, op == "ConvTranspose")]
        if bias:
            inputs.append(
                graph.stored(
                    "b",
                    graph.rng.integers(-999, 999, 4).astype(np.int32),
                    (np.float32(S8.scale) * scale),
                )
            )
        x = graph.node(op, inputs, "sums", kernel_shape=[3, 3], pads=[1] * 4)
    graph.normalized(x, "y", 4, Grid(0.03, 100))
    batch = (np.random.default_rng(0).integers(-128, 128, (8, 4, 6, 6)) * S8.scale).astype(
        np.float32
    )
    assert differing(saved(graph, folder), cpu_reference, emulator, batch) == {}


def test_float_parts_are_named(folder: Path) -> None:
    graph = Graph()
    graph.node("Sin", [graph.input("x", ["N", 4], S8)], "wave")
    with pytest.raises(ArtefactError, match="wave"):
        emulator.open(saved(graph, folder))
