"""Migration in attention: the float function stays, and ranges meet where the formula says."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from tests.support.models.public import attention

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.feeds.samples import WholePixels
from edgeq.calibration.methods.migrate import AttentionMigration
from edgeq.calibration.observe import session_of, tensors_of
from edgeq.calibration.quantize import prepared
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from edgeq.calibration.quantize import Prepared

RNG = np.random.default_rng(0)


def network(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[Prepared, Any]:
    """A network whose channels differ in size, in the form that is quantised, and samples."""
    torch.manual_seed(0)
    module = build().eval()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim == 2 and "head" not in name:
                weight.mul_(torch.exp2(torch.randint(-2, 3, (len(weight), 1))))
    data: Any = io.BytesIO()
    torch.onnx.export(
        module, (torch.zeros(1, *shape),), data, dynamo=False, opset_version=17, input_names=["x"]
    )
    model = ir.from_proto(onnx.load_from_string(data.getvalue()))
    samples = RNG.normal(size=(4, *shape)).astype(np.float32)
    inputs = model.graph.inputs
    found = prepared(model, CalibrationConfig(), [samples], WholePixels(inputs, []), print)
    return found, samples


def answers(found: Prepared, samples: Any) -> NDArray[np.float64]:
    session = session_of(found.model, exact=True)
    each = [session.run((), {"x": sample[None]})[0] for sample in samples]
    return np.asarray(each, np.float64)


@pytest.mark.parametrize(
    ("build", "shape", "told"),
    [
        (attention.Encoder, (12, 16), "2 products of queries and keys and 2 projections"),
        (attention.Swin, (3, 32, 32), "and 2 projections"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_float_function_stays(
    build: Callable[[], nn.Module], shape: tuple[int, ...], told: str
) -> None:
    found, samples = network(build, shape)
    before = answers(found, samples)
    said = AttentionMigration().apply(found.draft, partial(tensors_of, found.model, samples))
    assert told in said
    after = answers(found, samples)
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


@pytest.mark.filterwarnings("ignore")
def test_queries_and_keys_meet_in_the_middle() -> None:
    found, samples = network(attention.Encoder, (12, 16))
    tensors = partial(tensors_of, found.model, samples)
    AttentionMigration(strength=0.5).apply(found.draft, tensors)
    scores = next(
        node for node in found.model.graph
        if node.op_type == "MatMul" and node.outputs[0].uses()
    )  # fmt: skip
    names = [value.name or "" for value in scores.inputs if value is not None]
    made = tensors(names)
    queries, keys = made[names[0]], made[names[1]].swapaxes(-1, -2)
    factor = _magnitudes(queries) / _magnitudes(keys)
    # one number, by which attention divides, stands between the two
    np.testing.assert_allclose(factor, factor.flat[0], rtol=1e-5)


def _magnitudes(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.abs(tensor).max(axis=(0, -2))
    return found


def test_a_share_beyond_all_is_refused() -> None:
    with pytest.raises(UsageError, match=r"share of 1\.5"):
        AttentionMigration(1.5)
