"""The integer arithmetic of a machine, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgeq.targets.emulator.hardware.speed import Costs

Rounding = Literal[
    "half-even",
    "half-even-float32",
    "double",
    "gemmlowp",
    "single",
    "single-half-away",
    "shift",
    "shift-half-even",
    "shift-half-away",
    "shift-down",
    "wide",
]
Overflow = Literal["wrap", "saturate"]
Products = Literal["exact", "pairs-int16"]


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """The arithmetic of a machine.

    Attributes:
        name: the word a user types.
        summary: one line for people.
        rounding: how a sum becomes an output integer. ``half-even``: a real factor, ties to even,
            as ONNX says, and ``half-even-float32`` in the single precision of vector kernels;
            ``double``: a 31-bit mantissa, rounded, then a shift, rounded with ties away from zero,
            as TFLite and CMSIS-NN; ``gemmlowp``: as ``double``, the second ties up, as gemmlowp's
            own output stage; ``single``: mantissa and shift in one step, rounded once, ties up, as
            TFLite and CMSIS-NN built for single rounding, or ``-half-away`` from zero; ``shift``:
            the nearest power of two, ties up, to even, away from zero, or all ``down``.
        dense_rounding: the same for fully connected layers, where a machine's kernel for them is of
            another kind.
        accumulator_bits: the width of sums of products, sign included.
        overflow: what a sum does that does not fit.
        products: how products enter the sum: each by itself, or in pairs that saturate at 16 bits
            first (``vpmaddubsw``).
        storage_dtypes: integer types of activations that the machine has; empty for any.
        weight_bits: the smallest and the largest width of weights.
        activation_bits: the smallest and the largest width of activations.
        per_channel: whether weights may have a scale for each channel.
        kernels: whose integer kernels compute softmax and the like: those of ``litert``, which are
            TensorFlow Lite Micro's and CMSIS-NN's too; with ``ort`` what ONNX Runtime's optimiser
            makes of a QDQ file for x86 counts too.
        binary: whether sums of one-bit products are counted by XNOR and popcount.
        on_unsupported_width: what becomes of a layer with wider operands: the file is refused, or
            the layer is left to a ``host`` that computes it in 32 bits.
        settles_ties: whether results of ONNX's float arithmetic that lie near ties are computed in
            the order in which ONNX Runtime adds, which takes most of the time.
        source: where all this is written.
        costs: its speed and its memories; None where no cost is estimated.
    """

    name: str
    summary: str
    rounding: Rounding
    dense_rounding: Rounding
    accumulator_bits: int = 32
    overflow: Overflow = "wrap"
    products: Products = "exact"
    storage_dtypes: frozenset[str] = frozenset()
    weight_bits: tuple[int, int] = (1, 16)
    activation_bits: tuple[int, int] = (1, 16)
    per_channel: bool = True
    binary: bool = False
    kernels: Literal["litert", "ort"] = "litert"
    on_unsupported_width: Literal["refuse", "host"] = "refuse"
    settles_ties: bool = True
    source: str = ""
    costs: Costs | None = None
