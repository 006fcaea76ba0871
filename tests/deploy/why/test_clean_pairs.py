"""``edgeq why`` raises no alarm on random graphs that are right, whoever writes and runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, reject, settings
from tests.exporters.tflite.test_random_graphs import SIZE, recipes
from tests.support.faults.origins import origin
from tests.support.faults.running import asked_of_float

import edgeq
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    from tests.exporters.tflite.test_random_graphs import Recipe

TARGETS = ("ort-cpu-ref", "emulator", "tflite-ref", "tflite-builtin", "tflite")


@pytest.mark.slow
@given(recipe=recipes(most=4))
@settings(
    max_examples=45,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_random_graphs_raise_no_alarm(
    recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Five pairs of file and runtime each, beside the reference, and one of the float network."""
    import onnx_ir as ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

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
    clean = ir.to_proto(model)
    (causes,) = asked_of_float(origin(clean), [clean], source, folder)
    assert not [each for each in causes if each.kind != "clipping"], causes
