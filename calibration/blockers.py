"""What stays out of scope, with what does it instead; and what is left of a model without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import name_of, refuse
from edgeq.errors import ArtefactError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping

    import onnx_ir as ir

_CUT = "cut the model before it with --outputs, and pick boxes in the device's own code"
_CONTROL = (
    "export the model without control flow: fixed sizes and onnxsim fold what is constant; a loop "
    "is called by the program around the model, with its state as inputs and outputs"
)
_LANGUAGE = (
    "weights alone of language models are quantised by llama.cpp, Olive or onnxruntime-genai; "
    "edgeq audit reads their files"
)
_FRONT = "compute features outside, and calibrate the network behind them"

_PICKS = (
    *("TopK", "NonMaxSuppression", "NonZero", "RoiAlign", "Unique", "Compress"),
    *("EfficientNMS_TRT", "BatchedNMS_TRT"),
)
_LANGUAGE_OPERATORS = (
    *("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "GroupQueryAttention"),
    *("RotaryEmbedding", "MultiHeadAttention", "QMoE", "MoE"),
)

OUT_OF_SCOPE: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(_PICKS, ("picks results, as many as it finds, in the graph", _CUT)),
    **dict.fromkeys(("If", "Loop", "Scan"), ("is control flow that depends on data", _CONTROL)),
    **dict.fromkeys(_LANGUAGE_OPERATORS, ("belongs to a language model", _LANGUAGE)),
    **dict.fromkeys(("DFT", "STFT", "MelWeightMatrix"), ("is a transform of signals", _FRONT)),
}
"""Operators that are not to get an integer form: what they do, and what to do about it."""

_WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_MOST = 8  # tensors that a hint names


def check_scope(node: ir.Node) -> None:
    """See that an operator is none that stays out of scope.

    Raises:
        ArtefactError: it is; names the tool that does it, or where to cut.
    """
    if node.op_type in OUT_OF_SCOPE:
        what, hint = OUT_OF_SCOPE[node.op_type]
        raise refuse(node, what, hint)


def with_what_remains(
    error: ArtefactError,
    graph: ir.Graph,
    blocked: Collection[ir.Node],
    static: Container[ir.Node],
) -> ArtefactError:
    """An error whose hint says what can be calibrated without some nodes, and where to cut.

    Args:
        error: what is said of the nodes.
        graph: the whole.
        blocked: the nodes.
        static: those that depend on constants and sizes only, which are not counted.
    """
    lost = set(blocked)
    kept: list[ir.Node] = []
    for node in graph:
        if node in static:
            continue
        if node in lost or any(
            value is not None and value.producer() in lost for value in node.inputs
        ):
            lost.add(node)
        else:
            kept.append(node)
    ends = [
        name_of(value)
        for node in kept
        for value in node.outputs
        if (value.is_graph_output() or any(user in lost for user, _ in value.uses()))
    ]
    if not any(node.op_type in _WEIGHTED for node in kept) or not 0 < len(ends) <= _MOST:
        return error
    remains = (
        f"{counted(len(kept), 'operator', 'do', of=len(kept) + len(lost))} not depend on it: "
        f"calibrate {'it' if len(kept) == 1 else 'these'} with --outputs {','.join(ends)}"
    )
    return ArtefactError(error.what, hint=f"{error.hint}; {remains}")
