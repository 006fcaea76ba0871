"""Migration in attention: wide channels of activations are narrowed at the cost of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from edgeq.calibration._nodes import is_helper, name_of, output, shape_of
from edgeq.calibration.methods.parts.channel_uses import along, channels_of, uses_of
from edgeq.calibration.methods.parts.float_pairs import FloatLayer, may_change
from edgeq.errors import UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.methods import Tensors
    from edgeq.calibration.methods.parts.channel_uses import Channels, Use
    from edgeq.calibration.normal_form.draft import Draft


class AttentionMigration:
    """Moves what is hard to quantise in attention from activations into weights.

    Xiao et al., *SmoothQuant: Accurate and efficient post-training quantization for large language
    models* (2023), Eq. 4: channel j of what a layer reads is divided by
    ``s_j = max|X_j|^strength / max|W_j|^(1 - strength)``, and the layer's weights are multiplied by
    it. Between the values of attention and the projection behind it no operator mixes channels, so
    X are the values, and the factor goes into the layer that makes them. Queries and keys meet
    channel by channel: one is divided by ``s_j = max|Q_j|^strength / max|K_j|^(1 - strength)`` and
    the other multiplied by it. The factor of a LayerNorm is part of the weights behind it already.
    The function of the float network stays.

    Args:
        strength: 0 to 1, how much of the activations' range goes into the weights.

    Raises:
        UsageError: another number.
    """

    stage: ClassVar[Literal["measured"]] = "measured"

    def __init__(self, strength: float = 0.5) -> None:
        if not 0 <= strength <= 1:
            raise UsageError(
                f"migrate cannot move a share of {strength:g}", hint="choose 0 to 1, such as 0.5"
            )
        self._strength = strength

    def apply(self, draft: Draft, tensors: Tensors) -> str:
        """Scale the layers of all attention in place."""
        layers: dict[ir.Node, FloatLayer] = {}
        found = list(_meetings(draft.graph))
        made = {name_of(output(layer)) for meeting in found for layer in meeting.layers}
        seen = tensors(sorted(made)) if found else {}
        for meeting in found:
            for layer in meeting.layers:
                layers.setdefault(layer, FloatLayer(layer))
            scale = self._values if meeting.projects else self._queries
            scale(meeting, layers, seen)
        for each in layers.values():
            each.write(draft)
        values = sum(meeting.projects for meeting in found)
        return (
            f"migrated {counted(len(found) - values, 'product')} of queries and keys and "
            f"{counted(values, 'projection')} of values"
        )

    def _queries(
        self,
        meeting: _Meeting,
        layers: Mapping[ir.Node, FloatLayer],
        seen: Mapping[str, NDArray[np.float32]],
    ) -> None:
        ranges = [
            _magnitudes(seen[name_of(output(layer))])[channels]
            for layer, channels in zip(meeting.layers, meeting.channels, strict=True)
        ]
        factor = self._factor(*ranges)
        for layer, channels, each in zip(
            meeting.layers, meeting.channels, (factor, 1 / factor), strict=True
        ):
            _divide(layers[layer], channels, each)

    def _values(
        self,
        meeting: _Meeting,
        layers: Mapping[ir.Node, FloatLayer],
        seen: Mapping[str, NDArray[np.float32]],
    ) -> None:
        first, second = (layers[layer] for layer in meeting.layers)
        behind = second.by_input()
        weights = np.abs(behind).reshape(len(behind), -1).max(axis=1)
        made = _magnitudes(seen[name_of(output(first.node))])[meeting.channels[0]]
        factor = self._factor(made, weights)
        _divide(first, meeting.channels[0], factor)
        behind *= factor.reshape(-1, *[1] * (behind.ndim - 1))

    def _factor(
        self, activations: NDArray[np.floating], others: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        a, b = np.float64(activations), np.float64(others)
        used = (a > 0) & (b > 0)
        ratio = np.where(used, a, 1.0) ** self._strength / np.where(used, b, 1.0) ** (
            1 - self._strength
        )
        return np.asarray(ratio)


class _Meeting(NamedTuple):
    """Two layers whose channels meet one by one.

    Attributes:
        layers: queries and keys, or values and the projection behind.
        channels: of each layer those that meet, (pairs,).
        projects: whether the second is a projection of values; else they are queries and keys.
    """

    layers: tuple[ir.Node, ir.Node]
    channels: tuple[Channels, Channels]
    projects: bool


def _meetings(graph: ir.Graph) -> Iterator[_Meeting]:
    """Every place of attention where a factor can move, each channel of a layer once."""
    uses: dict[tuple[ir.Node, int], tuple[ir.Node, Channels]] = {}
    for layer in graph:
        channels = channels_of(layer) if may_change(layer) and not is_helper(layer) else None
        if channels is None:
            continue
        found = list(uses_of(output(layer), channels))
        for use in found:
            if use.reader is not None and _alone(use, found):
                uses[use.reader, use.operand] = layer, use.channels
    for node in graph:
        if node.op_type != "MatMul" or node.domain:
            continue
        first, second = uses.get((node, 0)), uses.get((node, 1))
        if first is not None and second is not None:
            yield from _scores(first, second)
        elif second is not None:
            yield from _projection(node, second)


def _alone(use: Use, others: Sequence[Use]) -> bool:
    """Whether no other use of a layer is of the same channels."""
    mine = np.unique(use.channels)
    return not any(np.isin(mine, each.channels).any() for each in others if each is not use)


def _scores(
    queries: tuple[ir.Node, Channels], keys: tuple[ir.Node, Channels]
) -> Iterator[_Meeting]:
    mine, its = along(queries[1], -2), along(keys[1], -1)
    if mine is None or its is None or mine.shape != its.shape:
        return
    pairs = mine.reshape(-1), its.reshape(-1)
    if all(len(np.unique(each)) == len(each) for each in pairs):
        yield _Meeting((queries[0], keys[0]), pairs, projects=False)


def _projection(product: ir.Node, values: tuple[ir.Node, Channels]) -> Iterator[_Meeting]:
    layer, channels = values
    each, shape = along(channels, -2), shape_of(output(product))
    rows = None if shape is None or len(shape) < 2 else shape[-2]
    if each is None or rows is None:
        return
    sizes = (*channels.shape[:-2], rows, channels.shape[-1])
    found = list(uses_of(output(product), np.broadcast_to(each[..., None, :], sizes)))
    reader = found[0].reader if len(found) == 1 else None
    if reader is None or found[0].operand or not may_change(reader):
        return
    read = np.moveaxis(found[0].channels, 1, -1)
    columns = read.reshape(-1, read.shape[-1])
    unique = len(np.unique(columns[0])) == columns.shape[1]
    second = FloatLayer(reader)
    fits = columns.shape[1] == len(second.by_input()) and not second.is_depthwise
    if fits and unique and (columns == columns[0]).all():
        yield _Meeting((layer, reader), (columns[0], np.arange(columns.shape[1])), projects=True)


def _magnitudes(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """The greatest magnitude of each channel, which stands at axis 1."""
    found: NDArray[np.float32] = np.abs(tensor).max(axis=(0, *range(2, tensor.ndim)))
    return found


def _divide(layer: FloatLayer, channels: Channels, factor: NDArray[np.float64]) -> None:
    """Divide some channels that a layer makes."""
    whole = np.ones(len(layer.weight))
    whole[channels] = factor
    layer.divide(whole)
