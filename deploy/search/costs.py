"""What an assignment costs: bytes, work, measured latency, or an NPU's cycles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeq.deploy.inputs import choose
from edgeq.errors import TargetError, UsageError
from edgeq.files import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.calibration.search.precision import Precision
    from edgeq.calibration.search.study import Assignment, LayerSize
    from edgeq.results import Profile

CostName = Literal["bytes", "macs", "latency", "cycles"]
COSTS: tuple[CostName, ...] = ("bytes", "macs", "latency", "cycles")
UNITS = {"bytes": "bytes", "macs": "MACs of 8 bits", "latency": "ms", "cycles": "cycles"}
_PER_CHANNEL = 8  # bytes: a bias of 32 bits and a scale
_FLOAT_BITS = 32
_SECONDS = 0.5  # for which a latency is taken
_BUDGET = re.compile(r"(bytes|macs|latency|cycles)=([0-9.]+)\s*(%|k|M|G|)")
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit of one cost.

    Attributes:
        cost: which one.
        value: the limit; a share of the cost in 8 bits where ``relative``.
        relative: whether it is a share.
    """

    cost: CostName
    value: float
    relative: bool = False

    def limit(self, reference: float) -> float:
        """The limit, where the network costs so much with all layers in 8 bits."""
        return self.value * reference if self.relative else self.value


def parse_cost(text: str) -> CostName:
    """A cost by its name.

    Raises:
        UnknownName: there is none of this name.
    """
    return COSTS[COSTS.index(choose("cost", text, COSTS))]


def parse_budget(text: str) -> Budget:
    """A budget as it is typed: ``bytes=200k``, ``macs=60%``, ``latency=2.5``, ``cycles=1.5M``.

    Raises:
        UsageError: it cannot be read.
    """
    found = _BUDGET.fullmatch(text.strip())
    number = found[2] if found else ""
    if found is None or number.count(".") > 1 or not number.strip(".") or float(number) <= 0:
        raise UsageError(
            f"the budget {text!r} cannot be read",
            hint="write bytes=200k, macs=60%, latency=2.5 (ms) or cycles=1.5M; a share is one of "
            "the cost with all layers in 8 bits",
        )
    cost: CostName = next(name for name in COSTS if name == found[1])
    if found[3] == "%":
        return Budget(cost, float(number) / 100, relative=True)
    return Budget(cost, float(number) * _FACTORS[found[3]])


def layer_bytes(layer: LayerSize, precision: Precision) -> float:
    """The bytes of a layer's parameters, with weights packed at their width."""
    per_channel = 4 if precision.is_float else _PER_CHANNEL
    return layer.weights * precision.mean_weight_bits / 8 + layer.channels * per_channel


def layer_macs(layer: LayerSize, precision: Precision) -> float:
    """The MACs of a layer for one sample, in those of 8 bits by 8 that are as much work."""
    return layer.macs * precision.work


class Cost:
    """One cost of a network.

    Args:
        name: which.
        target: where latency is measured, or cycles are estimated; empty for none.

    Raises:
        UsageError: it needs a target and none is named, or the other way about.
    """

    def __init__(self, name: CostName, target: str = "") -> None:
        measured = name in ("latency", "cycles")
        if measured and not target:
            raise UsageError(
                f"{name} is taken on a target, and none is named",
                hint="add --target "
                + ("ethos-u55, or another NPU" if name == "cycles" else "ort-cpu, or another one"),
            )
        if target and not measured:
            raise UsageError(
                f"--target {target} means nothing where the cost is {name}",
                hint="leave it out, or search by latency or cycles",
            )
        self.name: CostName = name
        self.target, self.measured = target, measured

    def of_layer(self, layer: LayerSize, precision: Precision) -> float:
        """The share of one layer, or what stands for it where only the whole can be measured."""
        if self.name == "bytes":
            return layer_bytes(layer, precision)
        return layer_macs(layer, precision)

    def of(self, layers: Sequence[LayerSize], precisions: Assignment, model: ir.Model) -> float:
        """The cost of a quantised network.

        Raises:
            TargetError: the target is absent, refuses the file, or tells no cycles.
        """
        if not self.measured:
            return sum(self.of_layer(layer, precisions[layer.name]) for layer in layers)
        profile = _profiled(model, self.target)
        if self.name == "latency":
            return profile.latency.p50_ms
        told = profile.facts.get("cycles", "")
        digits = re.sub(r"[^0-9.]", "", str(told))
        if not digits:
            raise TargetError(
                f"{self.target} tells no cycles", hint="search by latency, or on an Ethos-U"
            )
        return float(digits)


def _profiled(model: ir.Model, target: str) -> Profile:
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.evaluation.profile import profile
    from edgeq.deploy.pipeline.export import export
    from edgeq.exporter import ExportOptions
    from edgeq.files import write_bytes
    from edgeq.formats.onnx_io import serialize

    with temporary_folder() as folder:
        source = folder / "trial.onnx"
        write_bytes(source, serialize(model))
        options = ExportOptions(allow_float=True)
        (made,) = export(source, [], folder, options, stem="made", targets=[target])
        (found,) = profile([Pair(made.path, target)], seconds=_SECONDS)
        return found
