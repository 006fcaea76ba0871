"""What a scheme asks of a target, read off the untrained network that it makes.

Each kind of tensor, and what is left in float.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeq.errors import EdgeqError
from edgeq.training.qat_transform import ASSIGNMENT
from edgeq.training.quantizers.catalogue import find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import onnx_ir as ir
    from torch import fx

    from edgeq.exporter import Exported
    from edgeq.network.layer_protocols import IntegerLayer
    from edgeq.network.placement import GridSpec
    from edgeq.quant import QuantParams
    from edgeq.training.qat_transform.assignment import Assignment

RequirementKind = Literal["weights", "first and last", "activations", "float"]
_BATCHES, _SAMPLES, _SEED = 2, 8, 0


@dataclass(frozen=True, slots=True)
class Requirement:
    """Tensors of one kind that a scheme treats alike.

    Attributes:
        kind: weights of inner layers or of the first and last, activations, or what is computed in
            float.
        what: how they are quantised, for people.
        names: the layers' paths, the tensors or the operators.
        is_sub_range: whether they use less than the 8 bits that they are stored in.
        per_channel: whether any of them has more than one scale, as a folded BatchNorm makes them
            too.
        power_of_two: whether all their scales are powers of two.
        refusal: why they have no integer form at all; empty where they have one.
        hint: of the refusal.
        needs: what has to be there for the method to be the published one; empty for nothing.
        ops: the operators that compute with them; empty where the kind and the order of layers
            tell.
    """

    kind: RequirementKind
    what: str
    names: tuple[str, ...]
    is_sub_range: bool = False
    per_channel: bool = False
    power_of_two: bool = False
    refusal: str = ""
    hint: str = ""
    needs: str = ""
    ops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UntrainedNetwork:
    """An untrained network and what it asks for.

    Attributes:
        requirements: by kind, what is computed in float left out.
        model: the network in QDQ form, for a format; None where something in it has no integer
            form.
        unopened: why targets of checkpoints do not open the network's; None where they do.
    """

    requirements: tuple[Requirement, ...]
    model: Callable[[str], ir.Model] | None
    unopened: EdgeqError | None = None


def lower_untrained(model: fx.GraphModule, input_shape: tuple[int, ...]) -> UntrainedNetwork:
    """Lower a quantised network that nobody has trained.

    Ranges that follow the data are taken from a few batches of noise, so that every grid has a
    step; no weight moves.

    Args:
        model: as :func:`edgeq.training.qat_transform.quantize` makes it.
        input_shape: of one sample.

    Raises:
        UsageError: an operation of the network has no ONNX form.
    """
    from edgeq.exporters.torch.lower import lower

    _observe(model, input_shape)
    requirements = (*_weights(model), *_activations(model))
    if any(one.refusal for one in requirements):
        return UntrainedNetwork(requirements, None)
    lowered = lower(model, input_shape)
    return UntrainedNetwork(requirements, lambda _format: lowered)


def _observe(model: fx.GraphModule, input_shape: tuple[int, ...]) -> None:
    import torch

    generator = torch.Generator().manual_seed(_SEED)
    model.train()
    with torch.no_grad():
        for _ in range(_BATCHES):
            model(torch.randn(_SAMPLES, *input_shape, generator=generator))
    model.eval()


def _weights(model: fx.GraphModule) -> Iterable[Requirement]:
    assignment: Assignment = model.meta[ASSIGNMENT]
    groups = _Groups()
    for name, bits in assignment.placement.layers.items():
        path, kind = (
            assignment.paths[name],
            "first and last" if name in assignment.placement.ends else "weights",
        )
        layer: Any = model.get_submodule(path)
        scales = (
            "one scale a channel" if layer.quantizer.clip.axis is not None else "one scale a tensor"
        )
        method = find("weights", assignment.weight_method(name))
        groups.add(
            kind,
            f"{counted_bits(bits)}, {method.name}, {scales}",
            method.needs,
            bits,
            [path],
            partial(_weight_grid, layer),
        )
    return sorted(groups.requirements(), key=lambda one: one.kind != "weights")


def _activations(model: fx.GraphModule) -> Iterable[Requirement]:
    assignment: Assignment = model.meta[ASSIGNMENT]
    groups = _Groups()
    for name, spec in assignment.placement.grids.items():
        quantizer: Any = model.get_submodule(f"quantizers.{name}")
        tensors = [
            tensor for tensor, grid in assignment.placement.tensors.items() if grid == name
        ] or [name]
        method = find("activations", assignment.activation_method(spec))
        what = f"{counted_bits(spec.bits)}, {method.name}{_zero(spec, quantizer)}"
        groups.add("activations", what, method.needs, spec.bits, tensors, quantizer.quant_params)
    return groups.requirements()


def _weight_grid(layer: IntegerLayer) -> QuantParams:
    return layer.integer_weights().weight_params


class _Groups:
    """Tensors that are described alike, and their grids or why they have none."""

    def __init__(self) -> None:
        self.names: dict[tuple[Any, ...], list[str]] = defaultdict(list)
        self.grids: dict[tuple[Any, ...], list[QuantParams]] = defaultdict(list)

    def add(
        self,
        kind: str,
        what: str,
        needs: str,
        bits: int,
        names: list[str],
        ask: Callable[[], QuantParams],
    ) -> None:
        try:
            grid, refusal = ask(), ("", "")
        except EdgeqError as error:
            grid, refusal = None, (error.what, error.hint)
        key = kind, what, needs, bits < 8, *refusal
        self.names[key] += names
        self.grids[key] += [] if grid is None else [grid]

    def requirements(self) -> list[Requirement]:
        found = []
        for key, names in self.names.items():
            kind, what, needs, is_sub_range, refusal, hint = key
            scales = [grid.scale for grid in self.grids[key]]
            several, round_ = (
                any(scale.size > 1 for scale in scales),
                all(are_powers_of_two(scale) for scale in scales),
            )
            found.append(
                Requirement(
                    kind, what, tuple(names), is_sub_range, several, round_, refusal, hint, needs
                )
            )
        return found


def are_powers_of_two(scale: np.ndarray[Any, np.dtype[np.float32]]) -> bool:
    """Whether each of some scales is one."""
    return bool((np.frexp(scale)[0] == 0.5).all())  # the mantissa of one


def _zero(spec: GridSpec, quantizer: Any) -> str:
    if not spec.signed:
        return ", not negative"
    return (
        ", zero where its range puts it"
        if hasattr(quantizer, "zero_point")
        else ", zero in the middle"
    )


def in_float(model: ir.Model) -> list[Requirement]:
    """What the lowered network computes in float.

    Nothing of it is a mistake of the scheme, but not every runtime can.
    """
    from edgeq.qdq.reader import read_qdq

    names = tuple(
        dict.fromkeys(
            f"{op.op_type} {op.output.name}"
            for op in read_qdq(model, float_fallback=True).ops
            if op.output.is_float
        )
    )
    return [Requirement("float", "float32, as the scheme leaves them", names)] if names else []


def kept_in_float(written: Exported) -> list[Requirement]:
    """What a file computes in float between integers, for want of an integer kernel."""
    names = written.in_float.operators if written.in_float is not None else ()
    return [Requirement("float", "between integers", names)] if names else []


def counted_bits(bits: int) -> str:
    """A width, for people."""
    return f"{bits} bit{'s' * (bits > 1)}"
