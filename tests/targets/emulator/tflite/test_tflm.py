"""TFLite files in the emulator's profile of TensorFlow Lite Micro.

Not one integer differs from its own interpreter's.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # hypothesis reads the types of what it is given

import numpy as np
import pytest
from hypothesis import given, settings
from tests.contract.test_exactness import images, network
from tests.exporters.tflite.test_random_graphs import CALM, SIZE, Recipe, recipes
from tests.support.runtimes.emulation import differing

from edgeq.errors import ArtefactError, TargetError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.target import TARGETS, Target
from edgeq.training.recipes.scheme import Scheme


@pytest.fixture(scope="module")
def micro() -> Target:
    target = TARGETS.load("tflm")
    if not target.probe().usable:
        pytest.skip(f"tflm is not usable here: {target.probe().why_not}")
    return target


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("micro") / "model.tflite"


@settings(max_examples=6, deadline=None, suppress_health_check=CALM)
@given(recipe=recipes(8))
def test_no_answer_of_random_graphs_differs(recipe: Recipe, micro: Target, path: Path) -> None:
    graph = recipe.build()
    try:
        content = exporter.export(graph.output(), ExportOptions()).content
    except ArtefactError:  # a sum that kernels would overflow
        return
    assert isinstance(content, bytes)
    path.write_bytes(content)
    batch = (
        np.random.default_rng(0).normal(0, 60, (2, 4, SIZE, SIZE))
        * graph.scales["image_dequantized"]
    )
    try:
        session = micro.open(path)
    except TargetError as error:
        assert "has no kernel for" in str(error)  # noqa: PT017  such as GELU
        return
    with session as real, TARGETS.load("emulator:tflm").open(path) as emulated:
        np.testing.assert_array_equal(
            emulated.run(batch.astype(np.float32)),
            real.run(batch.astype(np.float32)),
            recipe.script("tflm"),
        )


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("resnet8", Scheme(4, 4)), ("stable-resnet8", Scheme(8, 8))],
    ids=["resnet8", "stable-resnet8"],
)
def test_no_integer_of_a_network_differs(
    name: str, scheme: Scheme, micro: Target, path: Path
) -> None:
    content = exporter.export(lower(network(name, scheme), (3, 16, 16)), ExportOptions()).content
    assert isinstance(content, bytes)
    path.write_bytes(content)
    assert differing(path, micro, TARGETS.load("emulator:tflm"), images(2)) == {}
