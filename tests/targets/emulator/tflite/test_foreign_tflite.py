"""What other converters write into a TFLite file and edgeq does not.

Numbers without dimensions, buffers of no bytes, state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models.tflite_models import ModelBuilder, int8_model
from tests.support.runtimes.emulation import differing
from tests.targets.test_foreign_tflite import saved, svdf_model

from edgeq.errors import ArtefactError, TargetError
from edgeq.formats.tflite_schema import schema
from edgeq.targets.emulator import emulator
from edgeq.targets.tflite import reference

if TYPE_CHECKING:
    from pathlib import Path

Op, Kind, Options = schema.BuiltinOperator, schema.TensorType, schema.BuiltinOptions
SHAPE = (1, 4, 4, 2)
OPTIONS = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT, "SUB": schema.SubOptionsT}


@pytest.mark.parametrize("shape", [(), (1,), (2,)], ids=["a number", "one", "two"])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("first", [True, False], ids=["in front", "behind"])
def test_constants_of_fewer_dimensions(
    tmp_path: Path, name: str, first: bool, shape: tuple[int, ...]
) -> None:
    build = ModelBuilder()
    x = build.tensor("x", SHAPE, Kind.INT8, [0.1], 3)
    constant = build.tensor(
        "constant", shape, Kind.INT8, [0.0131], -128, np.full(shape, 127, np.int8)
    )
    y = build.tensor("y", SHAPE, Kind.INT8, [0.2], 1)
    operands = [constant, x] if first else [x, constant]
    build.operator(
        getattr(Op, name),
        operands,
        [y],
        getattr(Options, f"{name.capitalize()}Options"),
        OPTIONS[name](),
        2,
    )
    build.graph.inputs, build.graph.outputs = [x], [y]
    images = np.random.default_rng(0).uniform(-13, 13, (3, 2, 4, 4)).astype(np.float32)
    assert not differing(saved(tmp_path, build.content()), reference, emulator, images)


def test_a_buffer_of_no_bytes_is_none(tmp_path: Path) -> None:
    model: Any = schema.ModelT.InitFromPackedBuf(int8_model())
    build = ModelBuilder()
    build.model = model
    # as some converters write the buffer of tensors that are computed
    model.buffers[0].data = np.zeros(0, np.uint8)
    images = np.random.default_rng(0).uniform(-4, 4, (3, 3, 8, 8)).astype(np.float32)
    assert not differing(saved(tmp_path, build.content()), reference, emulator, images)


def test_a_state_inside_an_operator_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        TargetError, match="SVDF 'y': it keeps something from one inference to the next"
    ):
        emulator.open(saved(tmp_path, svdf_model()))


def test_a_tensor_that_nothing_computes_is_told(tmp_path: Path) -> None:
    build = ModelBuilder()
    x, other, y = (build.tensor(name, SHAPE, Kind.INT8, [0.1]) for name in ("x", "other", "y"))
    build.operator(Op.ADD, [x, other], [y], Options.AddOptions, schema.AddOptionsT(), 2)
    build.graph.inputs, build.graph.outputs = [x], [y]
    with pytest.raises(ArtefactError, match="nothing computes the tensor 'other'"):
        emulator.open(saved(tmp_path, build.content()))
