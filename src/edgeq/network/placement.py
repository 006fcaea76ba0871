"""Where quantisers stand.

One set of rules for a torch graph in training and for an ONNX graph in calibration.

Two placements are known. ``paper`` is the published one (Ben-Yair, Eliasof, Treister, *Quantized
convolutional neural networks through the lens of partial differential equations*, Eq. 2): the
inputs of all convolutions but the first, and nothing else; convolutions with nothing between them,
as those of the operator ``K`` of MobileNetV2's stable block, are one. ``integer`` gives every
tensor that an integer runtime stores a grid of its own, so that nothing is left to compute in
float:

- the input, the input of the last layer and all tensors that no inner layer reads have
  ``boundary_bits``, signed unless they cannot be negative;
- what an inner layer reads has ``act_bits``; a sum lands directly on that grid;
- the inputs and output of concatenation and pooling share one grid of ``boundary_bits``, or of the
  widest among them; a tensor that already has another grid is brought onto it on the way;
- a tensor that layers of different widths read has the widest, and is brought onto a narrower grid
  on the way to the others;
- what a layer reads at one bit, a sign, is made of a wider grid on the way to it (in ``paper``: of
  the float tensor) where anything else reads the tensor too, which needs the number;
- slicing, padding with zeros and reshaping stay on the grid of what they read;
- a mean over many numbers, which are mostly larger than it, has a grid of its own where the one who
  asks says ``mean``;
- unary elementwise functions and products read and write 8-bit grids of their own, unless an inner
  layer reads the result: a function is then a table of 256 entries; a LayerNorm in float does so
  too, and computes in float between them; inside of one in integers all but its last product has
  16 bits;
- what no kernel computes in more bits, such as a softmax, reads a narrower grid on the way to it;
- nothing stands between a layer, a sum or a normalisation and its ReLU or other clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OperatorKind = Literal[
    "input",
    "constant",
    "layer",
    "norm",
    "relu",
    "clip",
    "add",
    "mul",
    "function",
    "concat",
    "pool",
    "mean",
    "data_movement",
]
PlacementName = Literal["integer", "paper"]
FirstLast = Literal["boundary", "inner", "float"]

FIRST_LAST: Mapping[PlacementName, FirstLast] = {"integer": "boundary", "paper": "float"}
"""What the first and last layer become by default: as a runtime needs it, or as published."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operator of a graph, named by the tensor it makes.

    Attributes:
        name: the output tensor.
        kind: ``layer`` has weights (BatchNorm belongs to it); ``norm`` is a BatchNorm that belongs
            to none; ``relu`` clips at zero or above, ``clip`` elsewhere; ``mul`` is a product of
            two tensors, or of matrices; ``function`` is a unary elementwise one, a difference, a
            softmax, or a LayerNorm; ``constant`` is computed of parameters and buffers alone;
            ``concat`` is concatenation; ``pool`` keeps the grid that it reads, ``mean`` has its
            own; ``data_movement`` moves values only.
        inputs: the activation tensors it reads.
        not_negative: a function or constant whose numbers cannot be.
        shares: the first layer that has a layer's weights, where that is another one.
        max_bits: the most bits that integer kernels of it read and write; None for any.
        min_bits: the fewest bits that its result is stored in, as inside of a LayerNorm.
        bare: a layer that has no BatchNorm.
    """

    name: str
    kind: OperatorKind
    inputs: tuple[str, ...] = ()
    not_negative: bool = False
    shares: str | None = None
    max_bits: int | None = None
    min_bits: int = 0
    bare: bool = False


@dataclass(frozen=True, slots=True)
class LayerWidths:
    """The widths of one layer, or what is to be different about them.

    Attributes:
        weight_bits: of its weights; None where nothing is said, or for weights in float.
        act_bits: of what it reads; None where nothing is said: the width of everything that no
            inner layer reads.
        is_float: whether the layer is left in float.
    """

    weight_bits: int | None = None
    act_bits: int | None = None
    is_float: bool = False

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> LayerWidths:
        """What :class:`edgeq.network.layer_rules.LayerRule` says about a layer, by name."""
        return cls(
            changes.get("weight_bits"), changes.get("act_bits"), changes.get("keep_float", False)
        )


@dataclass(frozen=True, slots=True)
class GridSpec:
    """One quantiser to make.

    Attributes:
        name: its name, that of the first tensor on its grid.
        bits: width.
        signed: whether negative values can occur.
        inner: whether a quantised inner layer reads it: the published place of a quantiser.
        readers: the layers that ask for its width, where ``inner``.
    """

    name: str
    bits: int
    signed: bool
    inner: bool
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """The solution for one graph.

    Attributes:
        grids: every quantiser by name.
        tensors: tensor to the quantiser that stands right behind the operator that makes it.
        edges: (operator, input index) to the quantiser that stands on this edge only.
        layers: the layers whose weights are quantised, with their width.
        ends: the first and the last of all layers.
        channel_bits: the width of each output channel's weights, of layers where they differ.
    """

    grids: Mapping[str, GridSpec]
    tensors: Mapping[str, str]
    edges: Mapping[tuple[str, int], str]
    layers: Mapping[str, int]
    ends: frozenset[str] = frozenset()
    channel_bits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def place(
    ops: Sequence[Op],
    *,
    placement: PlacementName,
    weight_bits: int,
    act_bits: int,
    boundary_bits: int = 8,
    first_last: FirstLast | None = None,
    overrides: Mapping[str, LayerWidths] | None = None,
) -> Placement:
    """Decide where quantisers stand.

    Args:
        ops: a graph in topological order.
        placement: the set of rules.
        weight_bits: width of inner layers' weights.
        act_bits: width of what inner layers read.
        boundary_bits: width of everything else.
        first_last: what becomes of the first and the last layer: ``boundary`` gives their weights
            ``boundary_bits``, 8 at most, ``inner`` treats them like any layer, ``float`` leaves
            them in float; None for what the placement does by itself.
        overrides: layers whose widths differ. One that ``first_last`` leaves in float is quantised
            where weights are named.
    """
    widths = _widths(
        ops,
        LayerWidths(weight_bits, act_bits),
        boundary_bits,
        first_last or FIRST_LAST[placement],
        overrides or {},
    )
    return _Solver(ops, widths, boundary_bits, integer=placement == "integer").solve()


def taps_of(ops: tuple[Op, ...], placement: Placement) -> dict[str, list[str]]:
    """Each grid with the tensors that are put onto it."""
    inputs = {op.name: op.inputs for op in ops}
    taps: dict[str, list[str]] = {grid: [] for grid in placement.grids}
    for tensor, grid in placement.tensors.items():
        taps[grid].append(tensor)
    for (reader, index), grid in placement.edges.items():
        taps[grid].append(inputs[reader][index])
    return {grid: list(dict.fromkeys(tensors)) for grid, tensors in taps.items()}


def inside_operators(ops: Sequence[Op]) -> Mapping[str, str]:
    """Layers whose result nothing but one layer reads straight, to that layer.

    Those with a BatchNorm are none: it is what they are followed by.
    """
    readers: dict[str, list[Op]] = {op.name: [] for op in ops}
    for op in ops:
        for tensor in op.inputs:
            readers[tensor].append(op)
    return {
        op.name: readers[op.name][0].name
        for op in ops
        if op.bare and [reader.kind for reader in readers[op.name]] == ["layer"]
    }


def ends_of(ops: Sequence[Op]) -> frozenset[str]:
    """The first and the last layer, and those that share their weights."""
    weights = {op.name: op.shares or op.name for op in ops if op.kind == "layer"}
    ends = set([*weights.values()][:1] + [*weights.values()][-1:])
    return frozenset(name for name, shared in weights.items() if shared in ends)


def _widths(
    ops: Sequence[Op],
    inner: LayerWidths,
    boundary_bits: int,
    first_last: FirstLast,
    overrides: Mapping[str, LayerWidths],
) -> dict[str, LayerWidths]:
    """What each layer is quantised to; without weight bits it stays in float."""
    outer = {
        "boundary": LayerWidths(min(boundary_bits, 8)),
        "inner": inner,
        "float": LayerWidths(),
    }[first_last]
    ends, found = ends_of(ops), {}
    for name in (op.name for op in ops if op.kind == "layer"):
        usual, own = outer if name in ends else inner, overrides.get(name, LayerWidths())
        found[name] = (
            LayerWidths()
            if own.is_float
            else LayerWidths(own.weight_bits or usual.weight_bits, own.act_bits or usual.act_bits)
        )
    return found


_FLOAT_BITS = 32  # of a tensor that is not quantised where it is made


class _Solver:
    def __init__(
        self,
        ops: Sequence[Op],
        widths: Mapping[str, LayerWidths],
        boundary_bits: int,
        *,
        integer: bool,
    ) -> None:
        self.ops = {op.name: op for op in ops}
        self.widths = widths
        self.boundary_bits = boundary_bits
        self.integer = integer
        self.ends = ends_of(ops)
        self.floats = {name for name, width in widths.items() if width.weight_bits is None}
        self.readers: dict[str, list[tuple[Op, int]]] = {name: [] for name in self.ops}
        for op in ops:
            for index, tensor in enumerate(op.inputs):
                self.readers[tensor].append((op, index))
        self.inside = inside_operators(ops)
        self.wanted = self._widest_wanted()
        self.leader: dict[str, str] = {}
        self.edges: dict[tuple[str, int], str] = {}
        # requantiser name -> the tensor it narrows, to how many bits
        self.narrowed: dict[str, tuple[str, int]] = {}

    def solve(self) -> Placement:
        bits: dict[str, int] = {}
        stored = [
            name
            for name, op in self.ops.items()
            if op.kind != "data_movement" and not self._fused(op)
        ]
        for name in stored:
            if (width := self._bits(name, bits)) is not None:
                bits[name] = width
        self.leader = {name: name for name in bits}
        if self.integer:
            self._share_grids(bits)
        self._narrow({name: bits.get(name, _FLOAT_BITS) for name in stored})
        tensors = {name: self._find(name) for name in bits}
        edges = {
            edge: (self.leader.get(grid) and self._find(grid)) or grid
            for edge, grid in self.edges.items()
        }
        grids = {
            name: self._spec(name, bits, tensors)
            for name in dict.fromkeys([*tensors.values(), *edges.values()])
        }
        layers = {
            name: width.weight_bits
            for name, width in self.widths.items()
            if width.weight_bits is not None
        }
        return Placement(grids, tensors, edges, layers, self.ends)

    def _fused(self, op: Op) -> bool:
        """Store a layer, normalisation or sum behind the clip that alone reads it."""
        return op.kind in ("layer", "norm", "add") and [
            reader.kind for reader, _ in self.readers[op.name]
        ] in (["relu"], ["clip"])

    def _uses(self, tensor: str) -> list[tuple[Op, int]]:
        """Who reads a tensor, seen through views."""
        direct = self.readers[tensor]
        through = [
            use
            for reader, _ in direct
            if reader.kind == "data_movement"
            for use in self._uses(reader.name)
        ]
        return [use for use in direct if use[0].kind != "data_movement"] + through

    def _asked(self, tensor: str) -> dict[str, int]:
        """The quantised layers that read a tensor at a width of their own, with that width."""
        if not self.integer and tensor in self.inside:
            return {}
        layers = [
            op.name
            for op, _ in self._uses(tensor)
            if op.kind == "layer" and op.name not in self.floats
        ]
        return {name: asked for name in layers if (asked := self.widths[name].act_bits) is not None}

    def _bits(self, tensor: str, before: Mapping[str, int]) -> int | None:
        asked = self._asked(tensor).values()
        if not self.integer:
            quantized = any(
                op.kind == "layer" and op.name not in self.floats for op, _ in self._uses(tensor)
            )
            return (
                max(asked, default=self.boundary_bits)
                if quantized and not self._is_number_too(tensor) and tensor not in self.inside
                else None
            )
        if self._stays_in_float(tensor):
            return None
        if self.ops[tensor].kind in ("pool", "concat"):
            read = [before[self._root(source)] for source in self.ops[tensor].inputs]
            return max(self.boundary_bits, self.wanted[tensor], *read)
        usual = max(self.boundary_bits, self.wanted[tensor])
        width = usual if self._is_number_too(tensor) else max(asked, default=usual)
        op = self.ops[tensor]
        return max(min(width, op.max_bits or width), op.min_bits)

    def _is_number_too(self, tensor: str) -> bool:
        """Whether layers read a sign, the one bit, of something that others read as a number.

        A sum of signs would be another one.
        """
        asked = self._asked(tensor)
        return 1 in asked.values() and any(op.name not in asked for op, _ in self._uses(tensor))

    def _widest_wanted(self) -> dict[str, int]:
        """The max width that layers ask of each tensor, also through concat and pooling."""
        found: dict[str, int] = {}
        for tensor in reversed(self.ops):
            shared = [
                found[op.name] for op, _ in self._uses(tensor) if op.kind in ("pool", "concat")
            ]
            found[tensor] = max([0, *self._asked(tensor).values(), *shared])
        return found

    def _stays_in_float(self, tensor: str) -> bool:
        """A tensor from a layer in float, or the input, that only layers in float read."""
        made = self._made_in_float(tensor)
        return made and all(op.name in self.floats for op, _ in self._uses(tensor))

    def _made_in_float(self, tensor: str) -> bool:
        op = self.ops[tensor]
        if op.kind in ("relu", "clip", "data_movement"):
            return self._made_in_float(op.inputs[0])
        return tensor in self.floats or (op.kind == "input" and bool(self.floats))

    def _root(self, tensor: str) -> str:
        while self.ops[tensor].kind == "data_movement":
            tensor = self.ops[tensor].inputs[0]
        return tensor

    def _share_grids(self, bits: Mapping[str, int]) -> None:
        for op in self.ops.values():
            if op.kind not in ("pool", "concat"):
                continue
            for index, tensor in enumerate(op.inputs):
                root = self._root(tensor)
                if bits[root] == bits[op.name]:
                    self._unite(root, op.name)
                else:
                    self.edges[op.name, index] = op.name

    def _narrow(self, bits: Mapping[str, int]) -> None:
        """Bring a tensor onto a narrower grid where one reads fewer bits than are stored."""
        for tensor in bits:
            asked = self._asked(tensor)
            asked |= {op.name: op.max_bits for op, _ in self._uses(tensor) if op.max_bits}
            several = len({width for width in asked.values() if width < bits[tensor]}) > 1
            for op, index in self._uses(tensor):
                width = asked.get(op.name, bits[tensor])
                if width < bits[tensor]:
                    name = f"{tensor}_narrowed_to_{width}" if several else f"{tensor}_narrowed"
                    self.narrowed[name] = tensor, width
                    self.edges[op.name, index] = name

    def _find(self, tensor: str) -> str:
        while self.leader[tensor] != tensor:
            tensor = self.leader[tensor]
        return tensor

    def _unite(self, first: str, second: str) -> None:
        a, b = self._find(first), self._find(second)
        order = list(self.ops)
        early, late = sorted((a, b), key=order.index)
        self.leader[late] = early

    def _spec(self, grid: str, bits: Mapping[str, int], tensors: Mapping[str, str]) -> GridSpec:
        if grid in self.narrowed:
            tensor, width = self.narrowed[grid]
            readers = tuple(name for name, asked in self._asked(tensor).items() if asked == width)
            return GridSpec(grid, width, self._signed(tensor), inner=True, readers=readers)
        members = [tensor for tensor, leader in tensors.items() if leader == grid]
        readers = tuple(
            dict.fromkeys(
                name
                for tensor in members
                for name, asked in self._asked(tensor).items()
                if asked == bits[grid]
            )
        )
        signed = any(self._signed(tensor) for tensor in members)
        return GridSpec(
            grid,
            bits[grid],
            signed,
            inner=any(self._asked(tensor) for tensor in members),
            readers=readers,
        )

    def _signed(self, tensor: str) -> bool:
        op = self.ops[tensor]
        if op.kind == "relu":
            return False
        if op.kind in ("input", "layer", "norm"):
            return True
        if op.kind in ("function", "constant"):
            return not op.not_negative
        return any(self._signed(source) for source in op.inputs)
