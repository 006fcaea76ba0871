"""Which operator of a float network is which of a quantised file's: by weights, then by structure.

Layers belong together whose weights are most alike; what lies between them is followed from value
to value. Names only decide where neither does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.numerics.pointwise import UNARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.deploy.origin.unrounded import FloatNetwork, FloatNode

BOUNDS = frozenset(("Relu", "Clip"))
_ALIKE = 0.9
"""The cosine of weights from which on they are the same layer's."""
_SAME = 0.02
"""By how much less the cosine may be of layers that share their weights."""
_DIGITS = 12  # of a cosine, so that layers of the same weights are equally alike
_FAR = 4  # operators that the quantised file may lack in a row
_ADDED = BOUNDS | {"Neg", "Identity", "Abs", "Cast"}
"""What is more likely put in than put in the place of another operator."""
FUNCTIONS = frozenset((*UNARY, "LogSoftmax", "PRelu", "Softmax"))
"""Operators of one input that compute other numbers from it."""
_RESHAPES = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))
_MOVES = _RESHAPES | {"Transpose", "DepthToSpace", "SpaceToDepth", "Expand"}
"""What a Reshape may stand in the place of; one in front of a layer and behind it is put in."""


@dataclass(slots=True)
class Matching:
    """The operators of two networks.

    Attributes:
        pairs: operators that are one: the float network's, and the other's.
        values: for each value of the other network, the float network's value that it is.
        added: operators that only the other network has.
        missing: operators that only the float network has, each with the value that lacks it.
    """

    pairs: list[tuple[FloatNode, FloatNode]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    added: list[FloatNode] = field(default_factory=list)
    missing: list[tuple[FloatNode, str]] = field(default_factory=list)

    __repr__ = brief


def match(real: FloatNetwork, other: FloatNetwork) -> Matching:
    """Pair the operators of a float network with those of another one.

    Args:
        real: the float network.
        other: the quantised file in float.
    """
    return _Matcher(real, other).run()


class _Matcher:
    def __init__(self, real: FloatNetwork, other: FloatNetwork) -> None:
        self.real, self.other = real, other
        self.readers, self.others = real.readers(), other.readers()
        self.makers = {name: node for node in real.nodes for name in node.outputs}
        self.free = {id(node) for node in real.nodes}
        mine, its = (
            [node for node in network.nodes if node.layer is not None] for network in (real, other)
        )
        self.alike = _cosines(mine, its)
        self.layers = {id(b): a for a, b in _pairs_of_layers(mine, its, self.alike)}
        self.found = Matching()

    def run(self) -> Matching:
        """Walk through the other network in its order."""
        names = set(self.real.inputs)
        for mine, its in zip(self.other.inputs, self.real.inputs, strict=False):
            self.found.values[mine] = mine if mine in names else its
        for node in self.other.nodes:
            known = [self.found.values.get(name, "") for name in node.inputs]
            partner = self._layer(node, known)
            if partner is None and not self._is_put_in(node, known):
                partner = self._partner(node, known)
            if partner is None:
                self.found.added.append(node)
                self.found.values |= {name: known[0] for name in node.outputs if known and known[0]}
                continue
            self.free.discard(id(partner))
            self.found.pairs.append((partner, node))
            self.found.values |= dict(zip(node.outputs, partner.outputs, strict=False))
            if len(partner.inputs) == len(node.inputs):
                for ends in zip(known, partner.inputs, node.inputs, strict=True):
                    self._missing(*ends)
        for bound, lacks in self.found.missing:
            if bound.op_type in BOUNDS:  # the grid cuts off what the operator would
                self.found.values[lacks] = bound.outputs[0]
        return self.found

    def _is_put_in(self, node: FloatNode, known: Sequence[str]) -> bool:
        """Whether layers read it that read in the float network what it reads itself."""
        if len(set(known)) != 1 or node.op_type in BOUNDS:
            return False
        behind = [self.layers.get(id(each)) for each in self.others.get(node.outputs[0], ())]
        return bool(behind) and all(each is not None and known[0] in each.inputs for each in behind)

    def _layer(self, node: FloatNode, known: Sequence[str]) -> FloatNode | None:
        """The layer that it is; of several with the same weights the one that reads the same."""
        partner = self.layers.get(id(node))
        if partner is None:
            return None
        least = self.alike.get((id(partner), id(node)), -1.0) - _SAME
        able = [
            each
            for each in self.real.nodes
            if id(each) in self.free and self.alike.get((id(each), id(node)), -2.0) >= least
        ]
        exact = [each for each in able if each.inputs == tuple(known)]
        if exact or id(partner) in self.free:
            return exact[0] if exact else partner
        return able[0] if able else None

    def _missing(self, known: str, wanted: str, lacks: str) -> None:
        """Note the operators between what the other network reads and what it should."""
        path: list[FloatNode] = []
        at = wanted
        while at != known and len(path) <= _FAR and at in self.makers:
            maker = self.makers[at]
            path.append(maker)
            if len(maker.inputs) != 1 or maker.layer is not None:
                return
            at = maker.inputs[0]
        if at == known:
            entries = [(node, lacks) for node in path if id(node) in self.free]
            self.found.missing += [each for each in entries if each not in self.found.missing]

    def _partner(self, node: FloatNode, known: Sequence[str]) -> FloatNode | None:
        near = list(
            dict.fromkeys(
                self._near(known),
            )
        )
        same = [each for each in near if _kind(each) == _kind(node) and each.layer is None]
        if twin := self._by_place(node, known):
            return twin
        same.sort(key=lambda each: (each.inputs != tuple(known), each.constants != node.constants))
        for each in same:
            if set(each.inputs) == set(known) and each.constants == node.constants:
                return each
        named = [each for each in same if each.outputs == node.outputs]
        if named or same:
            return (named or same)[0]
        behind = [
            reader
            for each in near
            if each.op_type in BOUNDS
            for reader in self._near(each.outputs)
            if _kind(reader) == _kind(node) and reader.layer is None
        ]
        if behind and node.op_type not in BOUNDS:
            return behind[0]
        if len(near) == 1 and self._replaces(node, near[0]):
            return near[0]
        if node.op_type in _ADDED or node.layer is not None:
            return None
        others = [
            each
            for each in near
            if each.layer is None
            and each.op_type not in _ADDED
            and (node.op_type not in _RESHAPES or each.op_type in _MOVES)
            and len(each.inputs) == len(node.inputs)
        ]
        return others[0] if others else None

    def _replaces(self, node: FloatNode, real: FloatNode) -> bool:
        """Whether an activation stands where another one should, which does not follow it."""
        kinds = {_kind(node), _kind(real)}
        if not kinds <= FUNCTIONS | {"bounds"} or real.layer is not None:
            return False
        readers = self.others.get(node.outputs[0], ())
        return bool(readers) and all(_kind(each) not in kinds for each in readers)

    def _by_place(self, node: FloatNode, known: Sequence[str]) -> FloatNode | None:
        """Of operators that read one value, the one in the same place, where kinds do not tell.

        Two averages of a value, where the float network has a maximum and an average, say.
        """
        if len(node.inputs) != 1 or not known[0]:
            return None
        mine = [
            each
            for each in self.readers.get(known[0], ())
            if each.layer is None and len(each.inputs) == 1
        ]
        its = [
            each
            for each in self.others[node.inputs[0]]
            if each.layer is None and len(each.inputs) == 1
        ]
        kinds = [[_kind(each) for each in side] for side in (mine, its)]
        if len(mine) != len(its) or kinds[1].count(_kind(node)) <= kinds[0].count(_kind(node)):
            return None
        partner = mine[its.index(node)]
        return partner if id(partner) in self.free and len(mine) > 1 else None

    def _near(self, names: Sequence[str]) -> Iterator[FloatNode]:
        for name in names:
            for each in self.readers.get(name, ()):
                if id(each) in self.free:
                    yield each


def pairs_of_layers(
    real: Sequence[FloatNode], other: Sequence[FloatNode]
) -> list[tuple[FloatNode, FloatNode]]:
    """Layers in pairs: by their weights, then by name and order among those of one shape."""
    return _pairs_of_layers(real, other, _cosines(real, other))


def _pairs_of_layers(
    real: Sequence[FloatNode], other: Sequence[FloatNode], alike: Mapping[tuple[int, int], float]
) -> list[tuple[FloatNode, FloatNode]]:
    found: list[tuple[FloatNode, FloatNode]] = []
    free, waiting = list(real), list(other)
    for least in (_ALIKE, -2.0):
        rest = []
        for node in waiting:
            able = [each for each in free if _size(each) == _size(node)]
            named = [each for each in able if each.outputs == node.outputs and least < 0]
            best = max(named or able, key=lambda a: alike[id(a), id(node)], default=None)
            if best is None or (least > 0 and alike[id(best), id(node)] < least):
                rest.append(node)
                continue
            best = best if named or least > 0 else able[0]
            if least > 0 and _belongs_to_another(best, node, real, other, alike):
                rest.append(node)
                continue
            free.remove(best)
            found.append((best, node))
        waiting = rest
    if len(free) == len(waiting):
        found += zip(free, waiting, strict=True)
    return found


def _belongs_to_another(
    best: FloatNode,
    node: FloatNode,
    real: Sequence[FloatNode],
    other: Sequence[FloatNode],
    alike: Mapping[tuple[int, int], float],
) -> bool:
    """Whether another layer has the weights of this one too, and stands where they belong.

    Then this one got them by mistake. Layers that share their weights in the float network too are
    told apart by what they read.
    """
    least = alike[id(best), id(node)] - _SAME
    same = [each for each in real if alike.get((id(each), id(node)), -1.0) >= least]
    rivals = [each for each in other if alike.get((id(best), id(each)), -1.0) >= least]
    if len(same) > 1 or len(rivals) < 2:
        return False
    place = [each for each in real if _size(each) == _size(best)].index(best)
    ranks = [each for each in other if _size(each) == _size(best)]
    nearest = min(rivals, key=lambda each: abs(ranks.index(each) - place))
    return nearest is not node


def _size(node: FloatNode) -> tuple[int, int]:
    layer = node.layer
    return (0, 0) if layer is None else layer.size


def _cosines(real: Sequence[FloatNode], other: Sequence[FloatNode]) -> dict[tuple[int, int], float]:
    """How alike the weights of layers of one size are, by the ids of the two."""
    found: dict[tuple[int, int], float] = {}
    for size in {_size(each) for each in real}:
        mine, its = ([each for each in side if _size(each) == size] for side in (real, other))
        if its:
            cosines = (_directions(mine) @ _directions(its).T).round(_DIGITS)
            for a, row in zip(mine, cosines.tolist(), strict=True):
                found |= {(id(a), id(b)): each for b, each in zip(its, row, strict=True)}
    return found


def _directions(layers: Sequence[FloatNode]) -> NDArray[np.float64]:
    """The weights of each layer in a row of length 1; of zeros where it has no others."""
    rows = np.stack([np.zeros(1) if n.layer is None else n.layer.weights.ravel() for n in layers])
    lengths = np.sqrt((rows * rows).sum(1, keepdims=True))
    found: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1.0)
    return found


def _kind(node: FloatNode) -> str:
    return "bounds" if node.op_type in BOUNDS else node.op_type
