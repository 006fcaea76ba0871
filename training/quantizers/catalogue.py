"""Every quantiser by name, and what is known of it before training; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from edgeq.errors import UnknownName, UsageError
from edgeq.network.checks import WIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from edgeq.training.quantizers.parts.protocol import GridQuantizer, Quantizer

Role = Literal["weights", "activations"]

_PACKAGE = "edgeq.training.quantizers"
_WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True, slots=True)
class Method:
    """One published method in one role.

    Attributes:
        name: as a user types it.
        role: what it quantises.
        summary: one line.
        source: the paper.
        factory: ``module:function``, below this package where it begins with a dot.
        widths: the bits it can be trained for.
        exact: those of them at which an exported file holds exactly the values of training.
        refusal: why export refuses the others.
        needs: what has to be there beside the quantiser for the method to be the published one;
            empty for nothing.
        per_channel: whether a scale for each output channel of a weight is possible.
        signs: the kinds of activations it takes.
        normalized: whether weights are published as brought to zero mean and unit variance first.
        anneals: whether the width can start above the target; the others have one width only and
            are at it from the start.
    """

    name: str
    role: Role
    summary: str
    source: str
    factory: str
    widths: tuple[int, ...] = _WIDTHS
    exact: tuple[int, ...] = _WIDTHS
    refusal: str = ""
    needs: str = ""
    per_channel: bool = False
    signs: tuple[bool, ...] = (False, True)
    normalized: bool = False
    anneals: bool = True

    def verdict(self, bits: int) -> str:
        """``exact``, or ``refused:`` and the reason."""
        return "exact" if bits in self.exact else f"refused: {self.refusal}"

    def check(self, bits: int) -> None:
        """Say so where the method has no such width.

        Raises:
            UsageError: it has not.
        """
        if bits not in self.widths:
            raise UsageError(
                f"{self.name} has no {bits}-bit {self.role}", hint=f"choose {_listed(self.widths)}"
            )


_KRISHNAMOORTHI = (
    "Krishnamoorthi, Quantizing deep convolutional networks for efficient inference (2018)"
)
_BEN_YAIR = (
    "Ben-Yair, Eliasof, Treister, Quantized convolutional neural networks through the lens of "
    "PDEs (2021), Eqs. 17-20"
)
_JACOB = (
    "Jacob et al., Quantization and training of neural networks for efficient "
    "integer-arithmetic-only inference (2018)"
)
_ESSER = "Esser et al., Learned step size quantization (2020)"
_BHALGAT = (
    "Bhalgat, Lee, Nagel, Blankevoort, Kwak, LSQ+: improving low-bit quantization (2020), "
    "the start; " + _ESSER
)
_JAIN = (
    "Jain et al., Trained quantization thresholds for accurate and efficient fixed-point "
    "inference of deep neural networks (2019)"
)
_CHOI = "Choi et al., PACT: parameterized clipping activation for quantized neural networks (2018)"
_LI = "Li, Dong, Wang, Additive powers-of-two quantization (2020)"
_COURBARIAUX = "Courbariaux, Bengio, David, BinaryConnect (2015)"
_RASTEGARI = "Rastegari et al., XNOR-Net (2016)"

_AFTER_STEP = (
    "`post_optimizer_step` after each step in a loop of your own, and a BatchNorm behind each layer"
)
_FINER_SCALE = (
    "no BatchNorm behind the layer, if the exported weight scale has to be a power of two as well"
)

METHODS: tuple[Method, ...] = (
    Method(
        "learned-clip",
        "weights",
        "one bound a tensor or channel, trained with the weights",
        _BEN_YAIR,
        ".learned_clip:for_weight",
        per_channel=True,
        normalized=True,
    ),
    Method(
        "ternary",
        "weights",
        "as learned-clip at two bits, with a gradient for clipped weights too",
        _BEN_YAIR + ", as released",
        ".ternary:for_weight",
        widths=(2,),
        exact=(2,),
        per_channel=True,
        normalized=True,
    ),
    Method(
        "lsq",
        "weights",
        "the scale is learned, at the pace of the weights",
        _ESSER,
        ".lsq:for_weight",
        per_channel=True,
    ),
    Method(
        "power-of-two",
        "weights",
        "the scale is a power of two, from a learned threshold",
        _JAIN,
        ".power_of_two:for_weight",
        needs=_FINER_SCALE,
        per_channel=True,
    ),
    Method(
        "apot",
        "weights",
        "levels are sums of powers of two, dense around zero",
        _LI,
        ".apot:for_weight",
        widths=(3, 4, 5, 6, 7),
        exact=(3, 4, 5, 6),
        refusal="weights from -448 to 448 do not fit int8",
        normalized=True,
        anneals=False,
    ),
    Method(
        "max-abs",
        "weights",
        "up to the largest magnitude, computed anew from each weight",
        _KRISHNAMOORTHI,
        ".max_abs:for_weight",
        per_channel=True,
    ),
    Method(
        "binary-connect",
        "weights",
        "the sign of a weight that is kept within -H and H, H from the layer's shape",
        _COURBARIAUX,
        ".binary.binary_connect:for_weight",
        widths=(1,),
        exact=(1,),
        needs=_AFTER_STEP,
        anneals=False,
    ),
    Method(
        "binary-connect-stochastic",
        "weights",
        "the sign by coin in training, the likelier one in evaluation",
        _COURBARIAUX,
        ".binary.binary_connect:for_weight_by_coin",
        widths=(1,),
        exact=(1,),
        needs=_AFTER_STEP,
        anneals=False,
    ),
    Method(
        "xnor",
        "weights",
        "the sign times the mean magnitude of each output filter",
        _RASTEGARI,
        ".binary.xnor:for_weight",
        widths=(1,),
        exact=(1,),
        needs="`per_channel`; tied weights have one scale per tensor instead",
        per_channel=True,
        anneals=False,
    ),
    Method(
        "xnor-centered",
        "weights",
        "as xnor, of weights that are centred and clipped after each step",
        _RASTEGARI + ", as a third party reimplemented it",
        ".binary.xnor:for_centered_weight",
        widths=(1,),
        exact=(1,),
        needs="`post_optimizer_step` after each step in a loop of your own, and `per_channel`",
        per_channel=True,
        anneals=False,
    ),
    Method(
        "learned-clip",
        "activations",
        "one bound a tensor, trained with the weights",
        _BEN_YAIR,
        ".learned_clip:for_activation",
    ),
    Method(
        "lsq",
        "activations",
        "the scale is learned; the first training batch starts it",
        _ESSER,
        ".lsq:for_activation",
    ),
    Method(
        "fitted",
        "activations",
        "one bound a tensor, learned as lsq learns; it starts where it rounds the first "
        "training batch best",
        _BHALGAT,
        ".fitted:for_activation",
    ),
    Method(
        "pact",
        "activations",
        "the bound learns from what it clips alone",
        _CHOI,
        ".pact:for_activation",
        needs="`bound_penalty` in the recipe, the paper's lambda, or weight decay on the bounds",
        signs=(False,),
    ),
    Method(
        "power-of-two",
        "activations",
        "the scale is a power of two, from a learned threshold; the first training batch starts it",
        _JAIN,
        ".power_of_two:for_activation",
    ),
    Method(
        "apot",
        "activations",
        "levels are sums of powers of two, dense around zero",
        _LI,
        ".apot:for_activation",
        widths=(2, 3, 4, 5, 6),
        exact=(),
        refusal="their levels are unequally spaced, and QuantizeLinear only rounds to equal spaces",
        signs=(False,),
        anneals=False,
    ),
    Method(
        "xnor",
        "activations",
        "the sign, but none within a five-hundredth of zero",
        _RASTEGARI,
        ".binary.xnor:for_activation",
        widths=(1,),
        exact=(1,),
        needs="BatchNorm in front of it and no ReLU between",
        anneals=False,
    ),
    Method(
        "tracked",
        "activations",
        "the bound follows the largest magnitude of the batches",
        _JACOB,
        ".tracked_clip:for_activation",
        widths=(*_WIDTHS, WIDE),
        exact=(*_WIDTHS, WIDE),
    ),
    Method(
        "min-max",
        "activations",
        "both ends follow the extremes of the batches, with the zero point where that puts it",
        _JACOB,
        ".tracked_range:for_activation",
    ),
)


def methods(role: Role) -> tuple[Method, ...]:
    """The methods in one role, in the order of the catalogue."""
    return tuple(method for method in METHODS if method.role == role)


def find(role: Role, name: str) -> Method:
    """A method by name.

    Raises:
        UnknownName: there is none in this role.
    """
    for method in methods(role):
        if method.name == name:
            return method
    raise UnknownName(f"method for {role}", name, [method.name for method in methods(role)])


def build_weight(
    method: str, bits: int, weight: Tensor, *, channels_axis: int | None, normalized: bool
) -> Quantizer:
    """A quantiser for a weight.

    Args:
        method: a name of the catalogue.
        bits: the width.
        weight: what is to be quantised, as it is stored; the initial scale comes from it.
        channels_axis: of the output channels, for a scale each; None for one scale in all.
        normalized: whether the weight will be brought to zero mean and unit variance before it
            reaches the quantiser.

    Raises:
        UnknownName: there is no such method for weights.
        UsageError: it has not this width, or cannot have a scale for each channel.
    """
    found = find("weights", method)
    found.check(bits)
    if channels_axis is not None and not found.per_channel:
        raise UsageError(
            f"{method} has one scale per tensor", hint="quantise these weights per tensor"
        )
    from edgeq.training.quantizers.parts.normalization import normalize

    stored = weight.detach()
    quantizer: Quantizer = _factory(found)(
        bits, normalize(stored) if normalized else stored, axis=channels_axis, normalized=normalized
    )
    return quantizer


def build_activation(method: str, bits: int, *, signed: bool) -> GridQuantizer:
    """A quantiser for an activation.

    Raises:
        UnknownName: there is no such method for activations.
        UsageError: it has not this width, or not for tensors of this sign.
    """
    found = find("activations", method)
    found.check(bits)
    if signed not in found.signs:
        other = "that can be negative" if signed else "without negative values"
        raise UsageError(
            f"{method} is not for activations {other}", hint="choose another method for them"
        )
    quantizer: GridQuantizer = _factory(found)(bits, signed=signed)
    return quantizer


def _factory(method: Method) -> Callable[..., Any]:
    module, function = method.factory.split(":")
    made: Callable[..., Any] = getattr(import_module(module, _PACKAGE), function)
    return made


def _listed(widths: tuple[int, ...]) -> str:
    narrow = [width for width in widths if width != WIDE]
    listed = f"{narrow[0]} bits" if len(narrow) == 1 else f"{narrow[0]} to {narrow[-1]} bits"
    return listed if WIDE not in widths else f"{listed}, or {WIDE}"
