"""What a quantised file holds otherwise than quantising a float file would give."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.deploy.origin.agreement import agreement_of
from edgeq.deploy.origin.attributes import attribute_differences
from edgeq.deploy.origin.folding import channels_last, gain_of
from edgeq.deploy.origin.forms import forms_of
from edgeq.deploy.origin.fused import with_fused_bounds
from edgeq.deploy.origin.matching import BOUNDS, FUNCTIONS, match
from edgeq.deploy.origin.quantizers import names_of, stored_values, twice_quantized
from edgeq.deploy.origin.unrounded import layers_as_network, network_of, unrounded
from edgeq.deploy.pipeline.reading import view_of
from edgeq.diffing.layers import as_convolution
from edgeq.diffing.records import Difference
from edgeq.diffing.rounding import FloatLayer, is_chosen, rounding_differences
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_io import read
from edgeq.linting import onnx_view
from edgeq.qdq.nodes import title
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.deploy.origin.forms import Form
    from edgeq.deploy.origin.matching import Matching
    from edgeq.deploy.origin.unrounded import FloatNetwork, FloatNode
    from edgeq.linting.model import LintModel
    from edgeq.quant import QuantParams

_IN_ORDER = frozenset(("Concat", "Sub", "Div", "Pow"))
"""Operators whose inputs cannot change places."""
_SETTINGS: Mapping[str, str] = {"Slice": "starts", "Gather": "indices", "Tile": "repeats"}
"""What the first constant of operators says, of whole numbers."""
_FEW = 4
_FAR = 64
_CHANGED = 0.1
"""Of the layers: where more than this share, and more than one, is changed, a method changed them:
equalisation, bias correction, AdaRound. A fault is in one place."""
_OTHERS = 2
"""Operators that keep their grid, which show that such operators do."""
_POSITIVE = frozenset(("Sigmoid", "HardSigmoid", "Softmax"))
_KEEPS_SIGN = frozenset(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten"))
_KEEPS_GRID = frozenset(
    ("MaxPool", "Transpose", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "DepthToSpace", "Slice")
)
"""Operators that give some of the numbers that they read, so that the grid fits them too."""
_FACTOR = 1e-5
_MOVES_NOTHING = frozenset(
    ("Identity", "Cast", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
)
_NEUTRAL: Mapping[str, float] = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
"""What an operand changes nothing by."""
_STRUCTURE = frozenset(("operator", "operator added", "operator missing"))
"""Kinds of differences that an optimiser's other operators for the same function have too."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """A quantised file beside the float one.

    Attributes:
        differences: what rounding does not explain, in the order of the graph.
        layers: how many layers both have.
        values: for each tensor of the quantised file, the float file's that it is.
        view: the layers and grids of the quantised file.
        remark: why the layers are not judged, in a sentence; empty where they are.
        rearranged: how many operators stand otherwise and compute the same numbers.
    """

    differences: tuple[Difference, ...]
    layers: int
    values: Mapping[str, str]
    view: LintModel
    remark: str = ""
    rearranged: int = 0

    __repr__ = brief

    @property
    def arrangement(self) -> str:
        """That operators stand otherwise, in a sentence; empty where none does."""
        if not self.rearranged:
            return ""
        return (
            "the graph was rearranged before it was quantised: "
            f"{counted(self.rearranged, 'operator')} differ from the float file's and compute the "
            "same numbers"
        )


def origin_of(
    real: Path, file: Path, known: Collection[str], model: ir.Model | None = None
) -> Origin:
    """Hold a quantised file against the float one that it was made from.

    Args:
        real: a float ONNX file.
        file: a quantised file, ONNX or TFLite; of TFLite, layers alone are compared.
        known: the names of tensors that operators are known by.
        model: the quantised file, where it is read already.

    Raises:
        ArtefactError: a file is broken, or has operators that cannot be brought to one form.
    """
    quantized = as_qdq(model or read(file)) if detect(file) == "onnx" else None
    if quantized is not None:
        other, view = network_of(unrounded(quantized)), onnx_view.view(quantized, file.name)
    else:
        view = view_of(file)
        other = layers_as_network(view)
    model = read(real)
    found: Origin | None = None
    best: _Comparison | None = None
    for form in forms_of(model, other, layers_alone=quantized is None):
        if found is None or found.differences or form.pairs_more:
            comparison = _Comparison(form.network, other, view, known, quantized)
            before = found
            found = _better(found, comparison.run(), form, comparison.matching)
            if found is not before:
                best = comparison
    if found is None or best is None:
        raise AssertionError("a network has at least the form that its file has")
    if quantized is not None and _STRUCTURE & {each.kind for each in found.differences}:
        found = best.by_numbers(found, model, quantized)
    if quantized is None:
        values = with_fused_bounds(found.values, network_of(model), view.activations)
        found = replace(found, values=values)
    return found


def _better(found: Origin | None, again: Origin, form: Form, matching: Matching) -> Origin:
    """What is found by one more form, where that explains more; else what was found before."""
    if found is None:
        return again
    paired = {name for each, _ in matching.pairs for name in each.outputs}
    more = len(again.differences) - len(found.differences)
    if more > 0 or (more == 0 and not form.pairs_more) or not form.inner <= paired:
        return found
    if form.renames:  # under one name, this form may hold what comes behind
        return replace(again, values=dict(found.values.items() & again.values.items()))
    values = {name: its for name, its in again.values.items() if its not in form.inner}
    return replace(again, values=values)


class _Comparison:
    def __init__(
        self,
        real: FloatNetwork,
        other: FloatNetwork,
        view: LintModel,
        known: Collection[str],
        quantized: ir.Model | None = None,
    ) -> None:
        self.matching: Matching = match(real, other)
        self.readers = other.readers()
        self.makers = {name: node for node in real.nodes for name in node.outputs}
        self.view, self.known, self.quantized, self.chosen = view, known, quantized, 0
        self.stored = {} if quantized is None else dict(stored_values(quantized, known))
        self.grids = {each.name: each.grid for each in view.activations}
        self.titled = {each.node: each for each in view.layers}
        self.layers = self.titled
        if quantized is not None:
            self.layers = {
                name: self.layers[title(node)]
                for node in quantized.graph
                if title(node) in self.layers
                for name in names_of(node.outputs[0])
            }

    def by_numbers(self, found: Origin, real: ir.Model, quantized: ir.Model) -> Origin:
        """What was found, without operators that stand otherwise and compute the same numbers.

        Where some do, of all others only those count whose inputs are right: what stands behind
        them is held against the wrong operators.
        """
        try:
            agreed = agreement_of(real, quantized, self.matching)
        except EdgeqError:  # it cannot be run, or not on random numbers
            return found
        structure = list(self._structure())
        at_right = [each for name, each in structure if name in agreed.right]
        if not at_right:
            return found
        wrong = [each for name, each in structure if name in agreed.wrong]
        known = {name for name, _ in structure} & agreed.wrong
        wrong += [
            Difference(
                "operator",
                self._near(name, _FAR),
                "it computes other numbers than the float file from the same ones",
            )
            for name in sorted(agreed.wrong - known)
        ]
        gone = {each for _, each in structure}
        return replace(
            found,
            differences=(*wrong, *(each for each in found.differences if each not in gone)),
            values={
                self.stored.get(name, name): its
                for name, its in {
                    **{name: its for name, its in self.matching.values.items() if name == its},
                    **agreed.equal,
                }.items()
            },
            rearranged=len(at_right),
        )

    def run(self) -> Origin:
        """Everything that differs, or a remark where most layers do."""
        found: list[Difference] = []
        if self.quantized is not None:
            found += [each for _, each in self._structure()]
            found += [
                *self._zeros(),
                *self._kept(),
                *twice_quantized(self.quantized, self._near, self.known),
            ]
        by_layer = [
            list(self._layer(real.layer, other))
            for real, other in self.matching.pairs
            if real.layer is not None and other.layer is not None
        ]
        changed = self.chosen + sum(
            any(each.kind != "activation scale" for each in found_there) for found_there in by_layer
        )
        remark = ""
        if changed > max(1.0, _CHANGED * len(by_layer)):
            remark = (
                f"{counted(changed, 'layer', 'hold', of=len(by_layer))} other weights or "
                "biases than rounding the float file's gives: a method or another training "
                "changed them, so they are not judged one by one"
            )
        else:
            found += [each for differences in by_layer for each in differences]
        return Origin(
            tuple(dict.fromkeys(found)),
            len(by_layer),
            {self.stored.get(name, name): its for name, its in self.matching.values.items()},
            self.view,
            remark,
        )

    def _layer(self, real: FloatLayer, node: FloatNode) -> Iterator[Difference]:
        """What a layer holds that rounding does not explain."""
        # what is folded into a layer may give its result another name
        layer, folded = self.layers.get(node.outputs[0], self.titled.get(node.name)), node.layer
        if layer is None or folded is None or layer.weights is None or layer.weight_grid is None:
            return
        if not layer.weights.size == folded.weights.size == real.weights.size:
            return
        if node.op_type == "Conv":
            layer = as_convolution(layer)
        gain = gain_of(layer, folded)
        wanted = FloatLayer(
            real.node,
            real.weights / gain.reshape(-1, *[1] * (real.weights.ndim - 1)),
            real.bias / gain,
        )
        if self.quantized is None:
            wanted = channels_last(wanted, layer)
        if is_chosen(wanted, layer):
            self.chosen += 1
            return
        source = self._near(node.inputs[0]) if node.inputs else ""
        found = list(rounding_differences(wanted, layer, layer.node, source))
        negated = bool(found) and bool((gain == -1).all())
        if negated and not list(rounding_differences(real, layer, layer.node, source)):
            readers = self.readers.get(node.outputs[0], [node])
            where = self._near(readers[0].outputs[0])
            found = [Difference("operator", where, "a sum became a difference")]
        yield from found

    def _near(self, name: str, most: int = _FEW) -> str:
        """The name of a value, or of the first one behind it, by which an operator is known."""
        for _ in range(most):
            readers = self.readers.get(name, [])
            if name in self.stored or name in self.known or len(readers) != 1:
                break
            name = readers[0].outputs[0]
        return self.stored.get(name, name)

    def _grid(self, name: str) -> QuantParams | None:
        return self.grids.get(name, self.grids.get(self._near(name)))

    # ---- structure -----------------------------------------------------------------------------

    def _structure(self) -> Iterator[tuple[str, Difference]]:
        """What operators do otherwise, each with the value that would be another one."""
        for real, other in self.matching.pairs:
            for each in self._of_pair(real, other, self._near(other.outputs[0], _FAR)):
                yield other.outputs[0], each
        for other in self.matching.added:
            where = self._near(other.outputs[0], _FAR)
            if other.op_type in BOUNDS:
                for each in self._bounds(None, other.bounds, where, self._held(other)):
                    yield other.outputs[0], each
            elif self._inserted(other):
                told = f"{other.op_type} is only in the quantised file"
                yield other.outputs[0], Difference("operator added", where, told)
        for real, lacks in self.matching.missing:
            where = self._near(lacks, _FAR)
            made = next((each.outputs[0] for each in self.readers.get(lacks, ())), lacks)
            if real.op_type in BOUNDS:
                for each in self._bounds(real.bounds, None, where):
                    yield made, each
            elif real.op_type in FUNCTIONS:
                yield made, Difference("operator missing", where, f"{real.op_type} is missing")

    def _of_pair(self, real: FloatNode, other: FloatNode, where: str) -> Iterator[Difference]:
        if {real.op_type, other.op_type} <= BOUNDS:
            yield from self._bounds(real.bounds, other.bounds, where)
        elif real.op_type != other.op_type:
            yield Difference("operator", where, f"{real.op_type} became {other.op_type}")
        else:
            yield from attribute_differences(real, self._padded(other), where)
            yield from self._order(real, other, where)
            yield from self._wiring(real, other, where)

    def _held(self, node: FloatNode) -> QuantParams | None:
        """The grid of what an operator reads, where none holds its result."""
        made, read = (
            [self.stored.get(name, name) for name in ends] for ends in (node.outputs, node.inputs)
        )
        return None if made[0] in self.grids else self.grids.get(read[0])

    def _order(self, real: FloatNode, other: FloatNode, where: str) -> Iterator[Difference]:
        """Inputs that changed places, and places that a constant names otherwise."""
        wanted = [self._source(name) for name in real.inputs]
        known = [self._source(self.matching.values.get(name, "")) for name in other.inputs]
        moved = [i for i, (a, b) in enumerate(zip(known, wanted, strict=False), 1) if a != b]
        if other.op_type in _IN_ORDER and sorted(known) == sorted(wanted) and moved:
            told = " and ".join(map(str, moved))
            yield Difference("operator", where, f"its inputs {told} change places")
        setting = _SETTINGS.get(other.op_type)
        if setting is not None and real.constants[:1] != other.constants[:1]:
            mine, its = ((node.constants or ((),))[0] for node in (real, other))
            whole = all(each >= 0 and each.is_integer() for each in (*mine, *its))
            if len(mine) == len(its) and whole:
                before, after = ([int(each) for each in numbers] for numbers in (mine, its))
                yield Difference("attribute", where, f"{setting}: {before} became {after}")

    def _padded(self, node: FloatNode) -> FloatNode:
        """A window with the Pad of zeros in front, which something put between keeps out of it."""
        pads = node.attributes.get("pads")
        adds = {each.outputs[0]: each for each in self.matching.added}
        at = adds.get(node.inputs[0]) if node.inputs else None
        while pads is not None and at is not None and at.inputs:
            if at.op_type == "Pad" and at.constants and 2 * len(pads) >= len(at.constants[0]):
                ends = at.constants[0]
                spatial, half = len(pads) // 2, len(ends) // 2
                more = (*ends[half - spatial : half], *ends[len(ends) - spatial :])
                both = tuple(int(a) + int(b) for a, b in zip(pads, more, strict=True))
                return replace(node, attributes={**node.attributes, "pads": both})
            at = adds.get(at.inputs[0])
        return node

    def _wiring(self, real: FloatNode, other: FloatNode, where: str) -> Iterator[Difference]:
        """Inputs that are other values, whatever activations and copies lie between."""
        wanted = [self._source(name) for name in real.inputs]
        known = [self._source(self.matching.values.get(name, "")) for name in other.inputs]
        if len(known) < 2 or len(known) != len(wanted) or "" in known:
            return
        lacks, instead = Counter(wanted) - Counter(known), Counter(known) - Counter(wanted)
        if lacks and all(name in self.makers for name in lacks | instead):
            told = [" and ".join(map(repr, sorted(each))) for each in (instead, lacks)]
            yield Difference("operator", where, f"it reads {told[0]} in the place of {told[1]}")

    def _source(self, name: str) -> str:
        """The value of the float network from which one follows without other numbers between."""
        while (maker := self.makers.get(name)) is not None and len(maker.inputs) == 1:
            if maker.op_type not in BOUNDS | _MOVES_NOTHING:
                break
            name = maker.inputs[0]
        return name

    def _inserted(self, node: FloatNode) -> bool:
        """Whether an operator stands between two that follow each other in the float network.

        Not one that changes no number: it moves none, or adds zero.
        """
        if node.op_type in _MOVES_NOTHING or not node.inputs:
            return False
        if _NEUTRAL.get(node.op_type) in {each for numbers in node.constants for each in numbers}:
            return False
        entry = self.matching.values.get(node.inputs[0])
        partners = {id(other): real for real, other in self.matching.pairs}
        readers = [partners.get(id(each)) for each in self.readers.get(node.outputs[0], ())]
        return bool(readers) and all(each is not None and entry in each.inputs for each in readers)

    def _zeros(self) -> Iterator[Difference]:
        """Grids that begin below zero where their values do not, nor those of the others."""
        below: dict[str, int] = {}
        positive: dict[str, QuantParams | None] = {}
        for real, other in self.matching.pairs:
            where = self._near(other.outputs[0])
            grid = self._grid(where)
            shared = any(
                each.op_type == "Concat" for each in self.readers.get(other.outputs[0], ())
            )
            source = real.inputs[0] if real.inputs else ""
            if real.op_type in _KEEPS_SIGN and source in positive:
                if grid == positive[source]:  # an operator that keeps the grid tells no more
                    grid = None
            elif real.op_type not in _POSITIVE and (real.bounds is None or real.bounds[0] != 0):
                continue
            positive[real.outputs[0]] = grid or positive.get(source)
            if grid is not None and not shared:
                below[where] = int(np.max(grid.zero_point)) - grid.qmin
        moved = {where: steps for where, steps in below.items() if steps}
        if len(moved) == 1 and len(below) > 1:
            ((where, steps),) = moved.items()
            yield Difference(
                "zero point",
                where,
                f"its values begin at zero and its grid {steps} "
                f"{'step' if steps == 1 else 'steps'} below; "
                f"{counted(len(below) - 1, 'other grid')} of such values "
                f"{'begins' if len(below) == 2 else 'begin'} at zero",
                steps=steps,
            )

    def _kept(self) -> Iterator[Difference]:
        """A grid that operators do not keep which move numbers alone, where all others keep theirs.

        Of the two grids the odd one is that which no other such operator shares.
        """
        pairs = [
            (self._near(node.inputs[0]), self._near(node.outputs[0]))
            for real, node in self.matching.pairs
            if node.op_type in _KEEPS_GRID
            and node.inputs
            # an activation behind it that the grid stands for has another range
            and self.matching.values.get(node.outputs[0]) == real.outputs[0]
        ]
        whole = [
            ends
            for ends in pairs
            if ends[0] != ends[1] and all(self._grid(name) is not None for name in ends)
        ]
        apart = [ends for ends in whole if self._grid(ends[0]) != self._grid(ends[1])]
        if not apart or len(whole) - len(apart) < _OTHERS:
            return
        kept = {name for ends in whole if ends not in apart for name in ends}
        odd = set(apart[0]).intersection(*apart[1:]) - kept
        if not odd:
            return
        where = next(name for name in apart[0] if name in odd)
        other = next(name for name in apart[0] if name != where)
        grid, wanted = self._grid(where), self._grid(other)
        if grid is None or wanted is None:
            return
        ratio = float(np.max(grid.scale)) / float(np.max(wanted.scale))
        steps = int(np.max(grid.zero_point)) - int(np.max(wanted.zero_point))
        told = f"another grid than {other!r}, which holds the same numbers"
        if abs(ratio - 1) > _FACTOR:
            yield Difference("activation scale", where, f"x{ratio:.4g}: {told}", factor=ratio)
        else:
            yield Difference("zero point", where, f"{steps:+d}: {told}", steps=abs(steps))

    def _bounds(
        self,
        real: tuple[float, float] | None,
        other: tuple[float, float] | None,
        where: str,
        grid: QuantParams | None = None,
    ) -> Iterator[Difference]:
        """Values that are cut off elsewhere, by an operator or by the end of a grid."""
        grid = grid or self._grid(where)
        if grid is None or grid.axis is not None:
            return
        scale, zero = float(grid.scale), int(grid.zero_point)
        ends = scale * (grid.qmin - zero), scale * (grid.qmax - zero)
        before, after = (
            (max(low, ends[0]), min(high, ends[1]))
            for low, high in (each or (float("-inf"), float("inf")) for each in (real, other))
        )
        if all(abs(a - b) <= scale for a, b in zip(before, after, strict=True)):
            return
        told = [f"{low:.4g} to {high:.4g}" for low, high in (before, after)]
        values = f"values from {told[0]} became {told[1]}"
        if other is None:
            yield Difference("operator missing", where, f"its activation is missing: {values}")
        else:
            yield Difference("range", where, values)
