"""The path of least noise: from the widest precision down, the cheapest step first.

Each step lowers the layer that adds the least noise for what it saves, where the noise of layers is
taken to add up. The point of the path where the limit is crossed is found by halving, with a few
trials; everything the path assumes is so checked on the network itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.calibration.search.precision import Precision
    from edgeq.calibration.search.sensitivity import Sensitivity
    from edgeq.calibration.search.study import Assignment, LayerSize, Study


def path(
    layers: Sequence[LayerSize],
    precisions: Sequence[Precision],
    known: Sequence[Sensitivity],
    cost: Callable[[LayerSize, Precision], float],
) -> list[dict[str, Precision]]:
    """All assignments of the path, the widest first.

    Args:
        layers: of the network.
        precisions: those that there are.
        known: the sensitivities; a precision of a layer that is not among them is not taken, but
            for float.
        cost: of a layer at a precision.
    """
    noise = {(each.layer, each.precision): each.noise for each in known}
    options = {layer.name: _options(layer, precisions, noise, cost) for layer in layers}
    at = {name: found[0] for name, found in options.items()}
    sizes = {layer.name: layer for layer in layers}
    steps = [dict(at)]
    while True:
        best: tuple[float, str, Precision] | None = None
        for name, now in at.items():
            later = options[name][options[name].index(now) + 1 :]
            for each in later:
                saved = cost(sizes[name], now) - cost(sizes[name], each)
                added = _noise(noise, name, each) - _noise(noise, name, now)
                worth = max(added, 0.0) / saved
                if best is None or worth < best[0]:
                    best = worth, name, each
        if best is None:
            return steps
        at[best[1]] = best[2]
        steps.append(dict(at))


def follow(study: Study, steps: Sequence[Assignment]) -> None:
    """Try the ends of a path, halve between what is kept and what is not, then go on from there.

    Beyond the last assignment that is kept, each further step is tried on its own, and left out
    where it is too much.
    """
    low, high = 0, len(steps) - 1
    wide = study.attempt(steps[low], "path")
    if high == 0 or not study.open:
        return
    narrow = study.attempt(steps[high], "path")
    if wide.kept == narrow.kept:
        return  # the limit is not on this path
    while high - low > 1 and study.open:
        middle = (low + high) // 2
        if study.attempt(steps[middle], "path").kept == wide.kept:
            low = middle
        else:
            high = middle
    # within a loss the narrower, within a budget the wider is better
    at = dict(steps[low] if wide.kept else steps[high])
    beyond = steps[high:] if wide.kept else steps[low::-1]
    for step in beyond:
        for name in [name for name, each in step.items() if each != at[name]]:
            better = {**at, name: step[name]}
            if study.open and study.attempt(better, "path").kept:
                at = better


def _options(
    layer: LayerSize,
    precisions: Sequence[Precision],
    noise: Mapping[tuple[str, str], float],
    cost: Callable[[LayerSize, Precision], float],
) -> list[Precision]:
    """The precisions that a layer can have, the dearest first; none that is dearer and noisier."""
    usable = [each for each in precisions if each.is_float or (layer.name, each.name) in noise]
    found: list[Precision] = []
    for each in sorted(
        usable or precisions[:1],
        key=lambda one: (cost(layer, one), _noise(noise, layer.name, one)),
    ):
        if not found or (
            _noise(noise, layer.name, each) < _noise(noise, layer.name, found[-1])
            and cost(layer, each) > cost(layer, found[-1])
        ):
            found.append(each)
    return found[::-1]


def _noise(noise: Mapping[tuple[str, str], float], layer: str, precision: Precision) -> float:
    return noise.get((layer, precision.name), 0.0)
