"""TFLite files in the emulator.

Not one integer differs from LiteRT's reference kernels, in any tensor.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path  # noqa: TC003  # hypothesis reads the types of what it is given
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from tests.contract.test_exactness import images, network
from tests.exporters.tflite.test_random_graphs import CALM, SIZE, Recipe, recipes
from tests.exporters.tflite.test_sixteen_bits import CASES
from tests.support.models.tflite_models import ModelBuilder
from tests.support.runtimes.emulation import differing
from tests.targets.emulator.onnx.test_program import NETWORKS

from edgeq.errors import ArtefactError, TargetError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.formats.tflite_schema import schema
from edgeq.targets.emulator import emulator
from edgeq.targets.tflite import reference

if TYPE_CHECKING:
    from tests.support.models.qdq_models import Graph as AnyGraph

    from edgeq.training.recipes.scheme import Scheme


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulated")


def written(graph: AnyGraph, folder: Path, options: ExportOptions | None = None) -> Path:
    content = exporter.export(graph.output(), options or ExportOptions()).content
    path = folder / "model.tflite"
    assert isinstance(content, bytes)
    path.write_bytes(content)
    return path


def check(recipe: Recipe, folder: Path) -> None:
    graph = recipe.build()
    try:
        path = written(graph, folder)
    except ArtefactError:  # a sum that kernels would overflow
        return
    batch = (
        np.random.default_rng(0).normal(0, 60, (2, 4, SIZE, SIZE))
        * graph.scales["image_dequantized"]
    )
    found = differing(path, reference, emulator, batch.astype(np.float32))
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


@NETWORKS
def test_no_integer_of_a_network_differs(name: str, scheme: Scheme, folder: Path) -> None:
    path = folder / "network.tflite"
    content = exporter.export(
        lower(network(name, scheme), (3, 32, 32)), ExportOptions(weight_storage="int4")
    ).content
    assert isinstance(content, bytes)
    path.write_bytes(content)
    assert differing(path, reference, emulator, images(2, (3, 32, 32))) == {}


def test_no_integer_of_a_published_network_differs(data_dir: Path) -> None:
    """The ResNet-8 of MLPerf Tiny, by TensorFlow's own converter."""
    batch = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32)).astype(np.float32)
    assert differing(data_dir / "models" / "resnet8-int8.tflite", reference, emulator, batch) == {}


@pytest.mark.parametrize("case", CASES)
def test_no_integer_of_sixteen_bits_differs(case: str, folder: Path) -> None:
    graph = CASES[case]()
    if len(graph.inputs) > 1:
        pytest.skip("the emulator runs models with one input")
    shape = [dim.dim_value or 4 for dim in graph.inputs[0].type.tensor_type.shape.dim]
    spread = 60 if case == "8 bits to 16" else 9000
    batch = (
        np.random.default_rng(0).normal(0, spread, shape)
        * graph.scales[f"{graph.inputs[0].name}_dequantized"]
    )
    assert differing(written(graph, folder), reference, emulator, batch.astype(np.float32)) == {}


def test_what_is_not_known_to_the_last_bit_is_refused_by_name_and_all_at_once(
    tmp_path: Path,
) -> None:
    """LOGISTIC on 16 bits, which other converters write, is a table that no formula gives."""
    model = ModelBuilder()
    steps = [
        model.tensor(name, (1, 8), schema.TensorType.INT16, [scale])
        for name, scale in (("x", 1e-3), ("first", 2.0**-15), ("second", 2.0**-15))
    ]
    for source, result in pairwise(steps):
        model.operator(schema.BuiltinOperator.LOGISTIC, [source], [result])
    model.graph.inputs, model.graph.outputs = steps[:1], steps[-1:]
    path = tmp_path / "model.tflite"
    path.write_bytes(model.content())
    with pytest.raises(TargetError, match=r"(?s)LOGISTIC 'first.*16 bits.*LOGISTIC 'second"):
        emulator.open(path)
