"""``edgeq.quantize``, and what it says of a scheme that changes the function of what it is given.

Few bits change the function too, which training is there to repair. What is told here is a scheme
that changes it for another reason: by what it clips or normalises before anything is rounded, or by
grids far coarser than the default ones of the same widths. Published schemes do so that train from
scratch; a trained network then starts from nearly nothing.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeq.errors import FunctionChanged, UsageError
from edgeq.training import qat_transform
from edgeq.training.qat_transform import set_rounding
from edgeq.training.recipes.scheme import AUTO, Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import fx

# of the root mean square of the answers; 8-bit grids of the default scheme change 1 to 5 %
_TOLD = 0.1
_WIDTHS = {"weights": "weight_bits", "activations": "act_bits"}
_WORSE = 2.0  # times what the default scheme of the same widths changes


def quantize(
    model: nn.Module, scheme: Scheme, example: Tensor | Sequence[Tensor] | None = None
) -> fx.GraphModule:
    """Return a copy of a float network with quantisers in it, ready to train with any loop.

    The default scheme changes a trained network by rounding only. A scheme that changes it more
    warns.

    The copy keeps weights, module names and tied weights. Activation quantisers are under
    ``quantizers``; the quantised form of a tensor is the graph node ``<tensor>_quantized``. Bounds
    that follow the data come from the batches of training mode. Before the first one the copy
    computes zeros.

    Args:
        model: a float network that ``torch.fx`` can trace.
        scheme: widths, methods and placement.
        example: of the input, or of each input, with a batch dimension. Needed where the network's
            ``forward`` asks for sizes, and for the warning about a scheme that changes the network.

    Raises:
        UsageError: the network cannot be traced, is quantised already, or holds something that
            cannot be quantised; the message names it.

    Warns:
        FunctionChanged: the scheme changes the answers to the example. It says by how much, which
            field does it, and what to give instead.
    """
    quantized = qat_transform.quantize(model, scheme, example)
    if example is not None:
        warn_of_change(model, quantized, scheme, example, stacklevel=3)
    return quantized


def warn_of_change(
    model: nn.Module,
    quantized: nn.Module,
    scheme: Scheme,
    example: Tensor | Sequence[Tensor],
    *,
    stacklevel: int = 2,
) -> None:
    """Warn of a scheme that changes what a trained network computes.

    A network whose normalisations have met no data is not trained, and there is nothing to keep.

    Args:
        model: the float network.
        quantized: what :func:`edgeq.training.qat_transform.quantize` made of it; left as it is.
        scheme: by which.
        example: of the input, or of each. Noise takes the place of one that is a single number.
        stacklevel: of the warning; 2 is the caller.

    Warns:
        FunctionChanged: it does.
    """
    if not _choices(scheme) or _untrained(model):
        return
    examples = [_telling(each) for each in ([example] if isinstance(example, Tensor) else example)]
    wanted = _answers(copy.deepcopy(model).eval(), examples)
    if not wanted.isfinite().all() or not wanted.any():
        return
    for rounding in (False, True):
        change = _change(quantized, examples, wanted, rounding=rounding)
        if not change > _TOLD:  # what is no number is told below
            continue
        changes = _Changes(model, examples, wanted, rounding)
        limit = max(_TOLD, _WORSE * changes.of(_default(scheme))) if rounding else _TOLD
        if change <= limit:
            continue
        fields, left = changes.culprits(scheme, limit)
        when = "once it rounds" if rounding else "before anything is rounded"
        warnings.warn(
            FunctionChanged(
                f"the scheme changes what this network computes: {when}, its answers to "
                f"the example are {_shown(change)} off (root mean "
                "square, over that of the answers), because of "
                f"{' and '.join(f'{name}={getattr(scheme, name)!r}' for name in fields)}",
                hint=f"to keep what is trained, {' and '.join(fields.values())}, which leaves "
                f"{_shown(left)}; from scratch, let it be",
            ),
            stacklevel=stacklevel,
        )
        return


class _Changes:
    """What other schemes change of the same answers."""

    def __init__(
        self, model: nn.Module, examples: list[Tensor], wanted: Tensor, rounding: bool
    ) -> None:
        self._model, self._examples, self._wanted, self._rounding = (
            model,
            examples,
            wanted,
            rounding,
        )

    def of(self, scheme: Scheme) -> float:
        """By one scheme."""
        try:
            quantized = qat_transform.quantize(self._model, scheme, self._examples)
        except UsageError:
            return float("inf")
        return _change(quantized, self._examples, self._wanted, rounding=self._rounding)

    def culprits(self, scheme: Scheme, limit: float) -> tuple[dict[str, str], float]:
        """The fields that must be the default's to keep the change within a limit, the worst first.

        Each comes with a hint; and the change that is left then.
        """
        found: dict[str, str] = {}
        while True:
            left = {name: _without(scheme, name) for name in _choices(scheme)}
            changes = {name: self.of(other) for name, other in left.items()}
            worst = min(changes, key=lambda name: changes[name])
            found[worst] = _advice(scheme, left[worst], worst)
            scheme = left[worst]
            if changes[worst] <= limit or len(left) == 1:
                return found, changes[worst]


def _choices(scheme: Scheme) -> list[str]:
    """The fields, of those that may change a function, in which a scheme is not the default."""
    named = {
        "normalize_weights": bool(scheme.normalize_weights),
        "weights": scheme.weights != AUTO
        or any(rule.weights not in (None, AUTO) for rule in scheme.layers),
        "activations": scheme.activations != AUTO
        or any(rule.activations not in (None, AUTO) for rule in scheme.layers),
        "per_channel": scheme.per_channel is False
        or any(rule.per_channel is False for rule in scheme.layers),
        "affine": scheme.affine is False,
    }
    return [name for name, chosen in named.items() if chosen]


def _without(scheme: Scheme, name: str) -> Scheme:
    """The scheme with the default in the place of a field, in rules too.

    A width that only the named method has becomes the next one.
    """
    width = _WIDTHS.get(name)
    rules = []
    for rule in scheme.layers:
        changes = {each: value for each, value in rule.changes().items() if each != name}
        if width in changes:
            changes[width] = max(2, changes[width])
        if changes:
            rules.append(type(rule)(rule.match, **changes))
    default: dict[str, Any] = {name: AUTO if width else None}
    if width:
        default[width] = max(2, getattr(scheme, width))
    return replace(scheme, layers=tuple(rules), **default)


def _advice(scheme: Scheme, other: Scheme, name: str) -> str:
    if name == "normalize_weights":
        return "set normalize_weights=False"
    if getattr(other, name) is None:
        return f"leave out {name}"
    width = _WIDTHS[name]
    wider = getattr(other, width) != getattr(scheme, width)
    return f'set {name}="{AUTO}"' + (f", {width}={getattr(other, width)}" if wider else "")


def _default(scheme: Scheme) -> Scheme:
    for name in _choices(scheme):
        scheme = _without(scheme, name)
    return scheme


def _untrained(model: nn.Module) -> bool:
    norms: list[Any] = [
        module for module in model.modules() if getattr(module, "running_var", None) is not None
    ]
    return bool(norms) and all(
        bool((norm.running_mean == 0).all() and (norm.running_var == 1).all()) for norm in norms
    )


def _telling(example: Tensor) -> Tensor:
    """The example, or noise where it is one number everywhere, which says nothing of a network."""
    if not example.is_floating_point() or bool((example != example.flatten()[:1]).any()):
        return example.detach()
    return torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)


def _change(
    quantized: nn.Module, examples: list[Tensor], wanted: Tensor, *, rounding: bool
) -> float:
    """The RMS of the difference over that of the answers, with ranges from the examples."""
    twin: Any = copy.deepcopy(quantized).eval()
    set_rounding(twin, weights=rounding, activations=rounding)
    for name, module in twin.named_children():
        module.train(name == "quantizers")
    _answers(twin, examples)
    found = _answers(twin.eval(), examples)
    difference = float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())
    return difference if difference == difference else float("inf")


@torch.no_grad()
def _answers(network: nn.Module, examples: list[Tensor]) -> Tensor:
    """All numbers of all outputs in one row, float64."""
    return torch.cat([each.double().flatten() for each in _tensors(network(*examples))])


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _shown(change: float) -> str:
    return f"{100 * change:.2g} %" if change < 1 else f"{change:.3g} times"
