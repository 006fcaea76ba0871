"""Models whose values are called as a rewrite calls its own.

The same graph under the worst of names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def values_of(model: onnx.ModelProto) -> list[str]:
    """The names of all values but the graph's inputs and outputs, in graph order."""
    names = [tensor.name for tensor in model.graph.initializer] + [
        name for node in model.graph.node for name in node.output
    ]
    return [name for name in dict.fromkeys(names) if name and name not in _ends(model)]


def made_by(before: onnx.ModelProto, after: onnx.ModelProto) -> list[str]:
    """The names of values and nodes that a rewrite came up with."""
    known = {*values_of(before), *_ends(before)}
    names = dict.fromkeys([*values_of(after), *(node.name for node in after.graph.node)])
    return [name for name in names if name and name not in known]


def _ends(model: onnx.ModelProto) -> set[str]:
    return {value.name for value in (*model.graph.input, *model.graph.output)}


def renamed(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """A copy of a model with other names for its values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for value in (*copy.graph.initializer, *copy.graph.value_info):
        value.name = names.get(value.name, value.name)
    return copy


def bad_names(model: onnx.ModelProto, made: Sequence[str]) -> st.SearchStrategy[dict[str, str]]:
    """Renamings of some of a model's values to what a rewrite of it makes, every name used once.

    Args:
        model: the model.
        made: the names that the rewrite comes up with; those that it falls back on are tried, too.
    """
    values = values_of(model)
    wanted = st.lists(
        st.sampled_from([*made, *(f"{name}_2" for name in made)]),
        min_size=1,
        max_size=len(values),
        unique=True,
    )
    return st.builds(
        lambda names, order: dict(zip(order, names, strict=False)), wanted, st.permutations(values)
    )
