"""The portable dialect on the kernels that add pairs in 16 bits.

The same integers as without optimisation, whatever the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.models.pair_models import layer
from tests.support.runtimes.avx2 import PROCESSORS, answers

from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.exporters.onnx.parity import compare_models
from edgeq.formats.dialect import CANONICAL, VNNI
from edgeq.qdq.ort_x86.saturation import pair_sums
from edgeq.qdq.reader import read_qdq
from edgeq.targets.ort import cpu_reference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from edgeq.formats.dialect import Dialect

    Case = tuple[onnx.ModelProto, NDArray[np.float32]]

STEP = 0.5  # of the output of these layers


def cases() -> dict[str, Case]:
    """Layers with weights from end to end of int8, and inputs that fill 8 bits."""
    found: dict[str, Case] = {}
    random = np.random.default_rng(0)
    shapes = {
        "conv": (8, 16, 3),
        "grouped": (8, 4, 3),
        "odd": (4, 3, 5),
        "pointwise": (8, 6, 1),
        "image": (4, 5, 3, 3),
        "dense": (32, 6),
    }
    for activation_dtype in ("uint8", "int8"):
        for name, shape in shapes.items():
            weights = random.integers(-127, 128, shape).astype(np.int8)
            attributes: dict[str, Any] = {"group": 2} if name == "grouped" else {}
            model = layer(
                weights,
                activation_dtype=activation_dtype,
                zero=0 if activation_dtype == "uint8" else -128,
                op="Gemm" if name == "dense" else "Conv",
                **attributes,
            )
            size = [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim][1:]
            found[f"{name} {activation_dtype}"] = (
                model,
                random.uniform(0, 5.1, (3, *size)).astype(np.float32),
            )
    return found


def written(dialect: Dialect) -> dict[str, Case]:
    return {
        name: (ir.to_proto(to_dialect(ir.from_proto(model), dialect)), samples)
        for name, (model, samples) in cases().items()
    }


def exact(folder: Path, case: Case) -> NDArray[np.float32]:
    path = folder / "model.onnx"
    path.write_bytes(case[0].SerializeToString())
    with cpu_reference.open(path) as session:
        return session.run(case[1])


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_portable_file_is_exact_there_and_int8_weights_are_not(
    processor: Sequence[str], tmp_path: Path
) -> None:
    portable, plain = (
        answers(processor, tmp_path, written(CANONICAL)),
        answers(processor, tmp_path, written(VNNI)),
    )
    for name, case in cases().items():
        expected = exact(tmp_path, case)
        assert np.abs(portable[name] - expected).max() <= STEP, name
        assert np.abs(plain[name] - expected).max() > STEP, f"{name} shows nothing"


@pytest.mark.parametrize("name", cases())
def test_both_files_hold_the_same_numbers_and_only_one_can_saturate(name: str) -> None:
    model = ir.from_proto(cases()[name][0])
    portable, plain = (to_dialect(model, dialect) for dialect in (CANONICAL, VNNI))
    assert compare_models(plain, portable).different == ()
    assert compare_models(portable, to_dialect(portable, VNNI)).different == ()
    assert not any(sums.can_saturate for sums in pair_sums(read_qdq(portable)))
    assert all(sums.can_saturate for sums in pair_sums(read_qdq(plain)))
    weights = to_dialect(portable, CANONICAL).graph.initializers["w"].const_value
    assert weights is not None
    assert weights.dtype == ir.DataType.UINT8
