"""Fully connected layers on tokens as 1x1 convolutions.

Tokens are (batch, tokens, features) or (batch, height, width, features).

Integer kernels have a bias, a scale for each output channel and a ReLU for a convolution, and no
TRANSPOSE is needed for it: TFLite keeps features last anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import (
    constant,
    floats,
    help_only,
    is_helper,
    name_of,
    output,
    private_layer,
    shape_of,
    sole_reader,
)
from edgeq.calibration.normal_form.fold import channels_of, line_of, scale_and_shift
from edgeq.calibration.normal_form.functions import CLIPS
from edgeq.calibration.normal_form.layers import add_convolution

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.calibration.normal_form.draft import Draft


def tokens_as_images(draft: Draft) -> None:
    """Rewrite in place each product of a tensor of 3 or 4 dimensions with a constant matrix."""
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "MatMul":
            _as_convolution(draft, node)


def _as_convolution(draft: Draft, node: ir.Node) -> None:
    source, weight, shape = node.inputs[0], floats(node, 1), shape_of(node.inputs[0])
    if (
        source is None
        or constant(source) is not None
        or weight is None
        or weight.ndim != 2
        or shape is None
        or len(shape) not in (3, 4)
    ):
        return
    rank, after = len(shape), shape_of(output(node))
    if after is None:
        return
    inwards, outwards = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
    turned = draft.add(
        "Transpose",
        [source],
        node,
        "turned",
        shape=[shape[i] for i in inwards],
        attributes={"perm": inwards},
    )
    kernel = weight.T.reshape(*weight.T.shape, *[1] * (rank - 2))
    turned_shape = [after[i] for i in inwards]
    conv = add_convolution(draft, node, turned, kernel, None, "product", shape=turned_shape)
    if is_helper(node):
        help_only(conv)
    made = output(conv)
    draft.finish(node, draft.add("Transpose", [made], node, "back", attributes={"perm": outwards}))
    back = next(user for user, _ in made.uses())
    _take_along(draft, conv, back)


def _take_along(draft: Draft, conv: ir.Node, back: ir.Node) -> None:
    """Fold per-feature factors and shifts that follow, and move a clip before the Transpose."""
    axis = len(output(back).shape or ()) - 1
    while (reader := sole_reader(output(back))) is not None and private_layer(output(conv)) is conv:
        line = line_of(reader, channels_of(conv), list(reader.inputs).index(output(back)), axis)
        if line is None:
            break
        scale_and_shift(draft, conv, *line)
        draft.take_over(output(reader), output(back))
        draft.graph.remove(reader, safe=True)
    reader = sole_reader(output(back))
    if (
        reader is None
        or reader.op_type not in CLIPS
        or any(value is not None and constant(value) is None for value in reader.inputs[1:])
    ):
        return
    clipped = draft.add(
        reader.op_type,
        [output(conv), *reader.inputs[1:]],
        back,
        "clipped",
        shape=shape_of(output(conv)),
    )
    back.replace_input_with(0, clipped)
    made = output(back)
    name, spare = name_of(output(reader)), name_of(made)
    output(reader).replace_all_uses_with(made, replace_graph_outputs=True)
    output(reader).name, made.name = spare, name
    draft.graph.remove(reader, safe=True)
