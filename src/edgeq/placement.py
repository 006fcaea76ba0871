"""Where quantisers stand: one set of rules for a torch graph in training and for an ONNX graph in calibration.

Two placements are known. ``paper`` is the published one (Ben-Yair, Eliasof, Treister, *Quantized convolutional neural
networks through the lens of partial differential equations*, Eq. 2): the inputs of all convolutions but the first, and
nothing else. ``integer`` gives every tensor that an integer runtime stores a grid of its own, so that nothing is left to
compute in float:

- the input, the input of the last layer and all tensors that no inner layer reads have ``edge_bits``, signed unless
  they cannot be negative;
- what an inner layer reads has ``act_bits``; a sum lands directly on that grid;
- the inputs and output of concatenation and pooling share one grid of ``edge_bits``; a tensor that already has another
  grid is brought onto it on the way (and from it, where an inner layer reads the result at fewer bits);
- slicing, padding with zeros and reshaping stay on the grid of what they read;
- functions of one number and products read and write 8-bit grids of their own, unless an inner layer reads the result: a
  function is then a table of 256 entries;
- nothing stands between a layer, a sum or a normalisation and its ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Kind = Literal["input", "layer", "norm", "relu", "add", "mul", "function", "join", "pool", "view"]
PlacementName = Literal["integer", "paper"]


@dataclass(frozen=True, slots=True)
class Op:
    """One operator of a graph, named by the tensor it makes.

    Attributes:
        name: the output tensor.
        kind: ``layer`` has weights (BatchNorm belongs to it); ``norm`` is a BatchNorm that belongs to none; ``mul`` is a product
            of two tensors; ``function`` is one of single numbers; ``join`` is concatenation; ``view`` moves values only.
        inputs: the activation tensors it reads.
        not_negative: a function whose results cannot be.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...] = ()
    not_negative: bool = False


@dataclass(frozen=True, slots=True)
class GridSpec:
    """One quantiser to make.

    Attributes:
        name: its name, that of the first tensor on its grid.
        bits: width.
        signed: whether negative values can occur.
        inner: whether a quantised inner layer reads it: the published place of a quantiser.
    """

    name: str
    bits: int
    signed: bool
    inner: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """The solution for one graph.

    Attributes:
        grids: every quantiser by name.
        tensors: tensor to the quantiser that stands right behind the operator that makes it.
        edges: (operator, input index) to the quantiser that stands on this edge only.
        layers: the layers whose weights are quantised, with their width.
    """

    grids: Mapping[str, GridSpec]
    tensors: Mapping[str, str]
    edges: Mapping[tuple[str, int], str]
    layers: Mapping[str, int]


def place(ops: Sequence[Op], *, placement: PlacementName, weight_bits: int, act_bits: int, edge_bits: int = 8) -> Placement:
    """Decide where quantisers stand in a graph given in topological order."""
    return _Solver(ops, placement, weight_bits, act_bits, edge_bits).solve()


class _Solver:
    def __init__(self, ops: Sequence[Op], placement: PlacementName, weight_bits: int, act_bits: int, edge_bits: int) -> None:
        self.ops = {op.name: op for op in ops}
        self.integer = placement == "integer"
        self.weight_bits, self.act_bits, self.edge_bits = weight_bits, act_bits, edge_bits
        layers = [op.name for op in ops if op.kind == "layer"]
        self.ends = {layers[0], layers[-1]} if layers else set()
        self.readers: dict[str, list[tuple[Op, int]]] = {name: [] for name in self.ops}
        for op in ops:
            for index, tensor in enumerate(op.inputs):
                self.readers[tensor].append((op, index))
        self.leader: dict[str, str] = {}
        self.edges: dict[tuple[str, int], str] = {}
        self.narrowed: dict[str, str] = {}  # requantiser name -> the tensor it narrows

    def solve(self) -> Placement:
        stored = [name for name, op in self.ops.items() if op.kind != "view" and not self._fused(op)]
        bits = {name: width for name in stored if (width := self._bits(name)) is not None}
        self.leader = {name: name for name in bits}
        if self.integer:
            self._share_grids(bits)
            self._narrow_for_inner_layers(bits)
        tensors = {name: self._find(name) for name in bits}
        edges = {edge: (self.leader.get(grid) and self._find(grid)) or grid for edge, grid in self.edges.items()}
        grids = {name: self._spec(name, bits, tensors) for name in dict.fromkeys([*tensors.values(), *edges.values()])}
        return Placement(grids, tensors, edges, {name: self._weight_bits(name) for name in self._quantized_layers()})

    def _quantized_layers(self) -> Iterable[str]:
        return (name for name, op in self.ops.items() if op.kind == "layer" and (self.integer or name not in self.ends))

    def _weight_bits(self, layer: str) -> int:
        return self.edge_bits if layer in self.ends else self.weight_bits

    def _fused(self, op: Op) -> bool:
        """A layer, normalisation or sum whose only reader is a ReLU is stored after it, not before."""
        return op.kind in ("layer", "norm", "add") and [reader.kind for reader, _ in self.readers[op.name]] == ["relu"]

    def _uses(self, tensor: str) -> list[tuple[Op, int]]:
        """Who reads a tensor, seen through views."""
        direct = self.readers[tensor]
        through = [use for reader, _ in direct if reader.kind == "view" for use in self._uses(reader.name)]
        return [use for use in direct if use[0].kind != "view"] + through

    def _inner(self, tensor: str) -> bool:
        return any(op.kind == "layer" and op.name not in self.ends for op, _ in self._uses(tensor))

    def _bits(self, tensor: str) -> int | None:
        inner = self._inner(tensor)
        if not self.integer:
            return self.act_bits if inner else None
        pooled = self.ops[tensor].kind in ("pool", "join")
        return self.act_bits if inner and not pooled else self.edge_bits

    def _root(self, tensor: str) -> str:
        while self.ops[tensor].kind == "view":
            tensor = self.ops[tensor].inputs[0]
        return tensor

    def _share_grids(self, bits: Mapping[str, int]) -> None:
        for op in self.ops.values():
            if op.kind not in ("pool", "join"):
                continue
            for index, tensor in enumerate(op.inputs):
                root = self._root(tensor)
                if bits[root] == bits[op.name]:
                    self._unite(root, op.name)
                else:
                    self.edges[op.name, index] = op.name

    def _narrow_for_inner_layers(self, bits: Mapping[str, int]) -> None:
        for tensor in bits:
            if self.ops[tensor].kind not in ("pool", "join") or self.act_bits == bits[tensor]:
                continue
            for op, index in self._uses(tensor):
                if op.kind == "layer" and op.name not in self.ends:
                    name = f"{tensor}_narrowed"
                    self.narrowed[name] = tensor
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
            return GridSpec(grid, self.act_bits, self._signed(self.narrowed[grid]), inner=True)
        members = [tensor for tensor, leader in tensors.items() if leader == grid]
        return GridSpec(
            grid,
            bits[grid],
            signed=any(self._signed(tensor) for tensor in members),
            inner=any(self._inner(tensor) for tensor in members),
        )

    def _signed(self, tensor: str) -> bool:
        op = self.ops[tensor]
        if op.kind == "relu":
            return False
        if op.kind in ("input", "layer", "norm"):
            return True
        if op.kind == "function":
            return not op.not_negative
        return any(self._signed(source) for source in op.inputs)
