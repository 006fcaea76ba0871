"""Which tensor inside one file is which of another's: by name, then by weights and structure.

Tools that quantise name tensors anew. Where most tensors of a quantised file have names that the
float file of a comparison does not know, they are called what they are called there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.origin.tensors import float_names
from edgeq.formats.artefact import detect
from edgeq.quant import QuantizedTensor
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.target import Shown

_NAMED = 3  # tensors without a counterpart that a sentence names


def shape_of(tensor: QuantizedTensor | NDArray[np.float32]) -> tuple[int, ...]:
    """The dimensions of a tensor as a stage shows it."""
    return tensor.values.shape if isinstance(tensor, QuantizedTensor) else tensor.shape


def shared_names(
    stages: Sequence[tuple[Path, Shown | None]], *, tell: Callable[[str], None]
) -> list[Mapping[str, str]]:
    """For each stage, what its tensors are called in the float file of the comparison.

    Args:
        stages: the file of each, and the tensors of a batch; None where it shows none.
        tell: called with what is paired otherwise than by name, and what has no counterpart.

    Returns:
        Name to name; a tensor that is not there keeps its own.
    """
    real = next((path for path, shown in stages if _is_float(path, shown)), None)
    if real is None:
        return [{} for _ in stages]
    known = {
        name: shape_of(tensor)
        for path, shown in stages
        if path == real
        for name, tensor in (shown or {}).items()
    }
    found: dict[Path, Mapping[str, str]] = {}
    for path, shown in stages:
        if path not in found and shown and is_quantized(shown):
            found[path] = _names_of(path, shown, real, known, tell)
    return [found.get(path, {}) for path, _ in stages]


def pairs_of(
    before: Shown, after: Shown, mine: Mapping[str, str], its: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The tensors of two stages that are the same and have one shape, in the order of the first.

    Args:
        before: the tensors of the first stage.
        after: those of the second.
        mine: what the first's are called in the float file.
        its: likewise of the second's.
    """
    there = {shared: name for name in after if (shared := its.get(name, name))}
    pairs = [(name, there.get(mine.get(name, name))) for name in before]
    return [
        (name, other)
        for name, other in pairs
        if other is not None and shape_of(before[name]) == shape_of(after[other])
    ]


def is_quantized(shown: Shown) -> bool:
    """Whether some of the tensors of a stage are integers on a grid."""
    return any(isinstance(each, QuantizedTensor) for each in shown.values())


def _is_float(path: Path, shown: Shown | None) -> bool:
    return bool(shown) and not is_quantized(shown or {}) and detect(path) == "onnx"


def _names_of(
    path: Path,
    shown: Shown,
    real: Path,
    known: Mapping[str, tuple[int, ...]],
    tell: Callable[[str], None],
) -> Mapping[str, str]:
    """What the tensors of a quantised file are called in the float one."""
    named = [name for name in shown if known.get(name) == shape_of(shown[name])]
    if 2 * len(named) >= min(len(shown), len(known)):
        return {}
    values = {
        name: its
        for name, its in float_names(real, path, shown).items()
        if known.get(its) == shape_of(shown[name])
    }
    if not values:
        return {}
    taken = set(values.values())
    paired = values | {name: name for name in named if name not in values and name not in taken}
    rest = [name for name in shown if name not in paired]
    told = ", ".join(map(repr, rest[:_NAMED])) + (" and others" if len(rest) > _NAMED else "")
    tell(
        f"{counted(len(paired), 'tensor', of=len(shown))} inside {path.name} are paired with those "
        f"of {real.name} by weights and structure, since their names are others"
        + (f"; without a counterpart: {told}" if rest else "")
    )
    # a name that means another tensor there is nothing's
    return paired | {name: "" for name in rest if name in known}
