"""ONNX Runtime's own AVX2 kernels.

On this processor where it has no dot products, and on a Haswell that QEMU emulates.

QEMU's user mode shows this interpreter a Haswell, so the very wheel that runs on this machine picks
the kernels that it would pick there, and they answer what they would answer there. Nothing in ONNX
Runtime itself can be set to that end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models.qoperator_models import LEAST

from edgeq.machine import adds_pairs, fingerprint
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.target import TARGETS
from edgeq.targets.emulator.program import OverflowStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.targets.emulator.session import EmulatorSession

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
SCALE = 0.0371
QEMU = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
HERE = pytest.param(
    (),
    id="here",
    marks=pytest.mark.skipif(
        not adds_pairs(fingerprint()), reason="this processor has integer dot products"
    ),
)
HASWELL = pytest.param(
    (str(QEMU), "-cpu", "Haswell"),
    id="haswell",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64, of the package qemu-user"),
    ],
)
PROCESSORS = (HERE, HASWELL)
"""Ways to start an interpreter on a processor with AVX2 and without integer dot products."""

_RUNNER = """
import sys, numpy as np, onnxruntime as ort
given, options = np.load(sys.argv[1]), ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
names = [key[6:] for key in given.files if key.startswith("model/")]
found = {}
for name in names:
    model = given["model/" + name].tobytes()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given_to = session.get_inputs()[0].name
    feeds = [{given_to: sample[None]} for sample in given["x/" + name]]
    found[name] = np.concatenate([session.run(None, feed)[0] for feed in feeds])
np.savez(sys.argv[2], **found)
"""


def answers(
    launcher: Sequence[str],
    folder: Path,
    cases: Mapping[str, tuple[onnx.ModelProto, NDArray[np.float32]]],
) -> dict[str, NDArray[np.float32]]:
    """What ONNX Runtime, its graph optimised, answers on such a processor, a sample at a time.

    Args:
        launcher: one of :data:`PROCESSORS`.
        folder: for what is passed.
        cases: models of one input and samples of it, by name.
    """
    given: dict[str, NDArray[np.generic]] = {}
    for name, (model, samples) in cases.items():
        given |= {
            f"model/{name}": np.frombuffer(model.SerializeToString(), np.uint8),
            f"x/{name}": samples,
        }
    np.savez(folder / "given.npz", allow_pickle=False, **given)
    run = [
        *launcher,
        sys.executable,
        "-c",
        _RUNNER,
        str(folder / "given.npz"),
        str(folder / "found.npz"),
    ]
    subprocess.run(run, check=True, capture_output=True)
    with np.load(folder / "found.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def predicted(
    folder: Path, model: onnx.ModelProto, samples: NDArray[np.float32]
) -> tuple[NDArray[np.float32], OverflowStats]:
    onnx.save(model, folder / "model.onnx")
    with cast(
        "EmulatorSession", TARGETS.load("emulator:avx2").open(folder / "model.onnx")
    ) as session:
        found = session.run(samples)
        return found, sum((layer.stats for layer in session.layers()), OverflowStats())


def in_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    found: onnx.ModelProto = ir.to_proto(as_qdq(ir.from_proto(model)))
    return found


def between(
    op_type: str,
    kind: str,
    shape: Sequence[int],
    operands: Sequence[tuple[str, Any]],
    out: tuple[float, int],
    zero: int,
    **attributes: Any,
) -> onnx.ModelProto:
    """A QOperator between a quantiser of real numbers and a dequantiser.

    Args:
        op_type: its operator.
        kind: the type of activations.
        shape: of one sample.
        operands: what stands behind the first operand's grid, a grid of the result among them as
            ``ys`` and ``yz``.
        out: scale of the result, and its zero point counted from the type's least integer.
        zero: of the input, likewise.
        attributes: of the node.
    """
    constants = {
        "xs": np.float32(SCALE),
        "xz": np.array(zero + LEAST[kind], kind),
        "ys": np.float32(out[0]),
        "yz": np.array(out[1] + LEAST[kind], kind),
    }
    constants |= {name: value for name, value in operands if value is not None}
    own = [name for name, _ in operands]
    domain = "" if op_type in ("QLinearConv", "QLinearMatMul") else "com.microsoft"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node(
            op_type, ["q", "xs", "xz", *own], ["c"], name="node", domain=domain, **attributes
        ),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]
    ends = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    )
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "g", [ends[0]], [ends[1]], stored),
        opset_imports=OPSETS,
        ir_version=8,
    )
    return model
