"""``edgeq why`` raises no alarm on random graphs that are right, whoever writes and runs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, reject, settings
from tests.exporters.tflite.test_random_graphs import SIZE, recipes
from tests.support.models.qdq_models import Grid

import edgeq
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    from tests.exporters.tflite.test_random_graphs import Recipe

TARGETS = ("ort-cpu-ref", "emulator", "tflite-ref", "tflite-builtin", "tflite")


@pytest.mark.slow
@pytest.mark.parametrize("narrow", [False, True])
@given(recipe=recipes(most=4))
@settings(
    max_examples=24,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_random_graphs_raise_no_alarm(
    recipe: Recipe, narrow: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Grids of 8 bits, or narrower ones too; five pairs of file and runtime each."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for i, (method, arguments, keywords) in enumerate([] if narrow else recipe.calls):
        whole = tuple(replace(a, clip=None) if isinstance(a, Grid) else a for a in arguments)
        recipe.calls[i] = (method, whole, keywords)
    model = recipe.build().output()
    RemoveUnusedNodesPass()(model)  # a recipe leaves branches that nothing reads
    folder = tmp_path_factory.mktemp("clean")
    paths = folder / "net.onnx", folder / "net.tflite"
    try:
        paths[1].write_bytes(exporter.export(model, ExportOptions()).content)
    except ArtefactError:
        reject()
    paths[0].write_bytes(serialize(model))
    values = np.random.default_rng(1).normal(0, 1, (4, 4, SIZE, SIZE)).astype(np.float32)
    source = edgeq.load_data({"test": values})
    found = edgeq.why(paths, source, targets=TARGETS)
    assert found.exact, found.causes
