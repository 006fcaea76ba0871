"""What a quantised layer holds otherwise than rounding its float weights would give.

A weight ``w`` on a grid of step ``s`` becomes the integer ``q`` with ``|w / s - q| <= 1 / 2``, or
the last one of the grid where ``w`` lies beyond it. So each weight tells between which numbers the
factor lies by which the step is wrong; where these intervals have a point in common, the integers
are those of another scale, and where they have none, they are other integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.diffing.records import Difference, listed
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.linting.model import LintLayer

_HALF = 0.502
"""Half a step, and what float32 adds to the quotient of two of its numbers."""
_BIAS_STEPS, _BIAS_SHARE = 1.5, 2e-5
"""What folding in float32 may move a bias by: steps, and of the largest bias."""
_CHOSEN, _CHOSEN_SHARE, _CHOSEN_MOST = 0.6, 0.05, 2.5
"""Of weights rounded up or down by a method: root mean square of their error in steps, at least
this share not to the nearest, the largest error. Up or down at random has 0.577."""
_FACTOR = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """A layer of a float network, all folded into it that can be.

    Attributes:
        node: its name.
        weights: (out, in / groups, ...).
        bias: (out,).
    """

    node: str
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    __repr__ = brief

    @property
    def size(self) -> tuple[int, int]:
        """How many outputs and how many weights it has."""
        return len(self.weights), self.weights.size


def rounding_differences(
    real: FloatLayer, layer: LintLayer, where: str, source: str
) -> Iterator[Difference]:
    """How a quantised layer differs from a float one by more than rounding.

    Args:
        real: the float layer.
        layer: the quantised one, with as many weights.
        where: its name for people.
        source: the name of the tensor that it reads.
    """
    if layer.weights is None or layer.weight_grid is None:
        return
    rows = _Rows(real, layer)
    order = None
    if rows.wrong.any():
        order = rows.order()
        yield rows.told(where, order)
    yield from _bias(real, layer, rows, order, where, source)


class _Rows:
    """The weights of a layer by output channel, float ones in steps beside the integers."""

    def __init__(self, real: FloatLayer, layer: LintLayer) -> None:
        weights, grid = layer.weights, layer.weight_grid
        assert weights is not None and grid is not None  # noqa: PT018, S101  asked before
        self.shape, self.count = weights.shape, len(weights)
        self.integers = weights.reshape(self.count, -1).astype(np.float64)
        scale = np.atleast_1d(grid.scale).astype(np.float64)
        self.steps = np.broadcast_to(
            scale if scale.size in (1, self.count) else scale.max(), self.count
        )
        self.one_scale = scale.size == 1
        self.real = real.weights.reshape(self.count, -1)
        zero = np.atleast_1d(grid.zero_point)
        self.zero = int(zero.reshape(-1)[0])
        self.middle = 0 if grid.dtype.startswith("int") else (grid.qmin + grid.qmax + 1) // 2
        self.ends = float(grid.qmin - zero.max()), float(grid.qmax - zero.min())
        self.low, self.high = self.factors(self.real / self.steps[:, None], self.integers)
        if self.one_scale:
            together = np.full(self.count, self.low.max()), np.full(self.count, self.high.min())
            if (together[0] <= together[1]).all():
                self.low, self.high = together
        self.wrong = (self.low > 1) | (self.high < 1)
        self.empty = self.wrong & ~self.integers.any(1)
        self.held = _held(layer, self.steps)

    def factors(
        self, scaled: NDArray[np.float64], integers: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Between which factors of the step each row is what rounding gives."""
        size, steps = np.abs(scaled), np.abs(integers)
        opposite = (np.sign(scaled) != np.sign(integers)) & (steps > 0) & (size > 1e-6)
        at_end = (integers <= self.ends[0]) | (integers >= self.ends[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            low = np.where(at_end, 0.0, size / (steps + _HALF))
            high = np.where(steps > 0, size / (steps - _HALF), np.inf)
        high = np.where(opposite, 0.0, high)
        low = np.where(opposite, np.inf, low)
        return low.max(1), high.min(1)

    def order(self) -> NDArray[np.int64] | None:
        """For each row, the float row that it is; None where no other order explains them."""
        wrong = np.flatnonzero(self.wrong)
        if len(wrong) < 2 or self.real.shape[1] < 2:
            return None
        order = np.arange(self.count)
        free = list(wrong)
        for i in wrong:
            few = np.array(free)
            scaled = self.real[few] / self.steps[i]
            low, high = self.factors(scaled, np.broadcast_to(self.integers[i], scaled.shape))
            able = few[(low <= high) & (low > 0)]
            if not len(able):
                return None
            order[i] = able[0]
            free.remove(able[0])
        return order if (order != np.arange(self.count)).any() else None

    def told(self, where: str, order: NDArray[np.int64] | None) -> Difference:
        """The difference of the weights, as what it is."""
        wrong = tuple(int(i) for i in np.flatnonzero(self.wrong))
        some = wrong if len(wrong) < self.count else ()
        if order is not None:
            moved = tuple(int(i) for i in np.flatnonzero(order != np.arange(self.count)))
            told = (
                f"channels {moved[0]} and {moved[1]} change places"
                if len(moved) == 2
                else f"{len(moved)} of {self.count} channels stand in another order"
            )
            return Difference("channels reordered", where, told, moved)
        if (self.low <= self.high)[self.wrong].all() and not self.empty.any():
            return self._scale(where, wrong, some)
        if turned := self._turned():
            return Difference("weights transposed", where, turned)
        error = self.integers - np.clip(self.real / self.steps[:, None], *self.ends)
        moved_by = round(float(np.median(error)))
        if moved_by and (np.abs(error - moved_by) <= 1).mean() > 0.9:
            if self.zero != self.middle:
                return Difference(
                    "weight zero point",
                    where,
                    f"{self.zero}: all weights are moved by {moved_by:+d}",
                    steps=abs(moved_by),
                )
            return Difference(
                "weights", where, f"all integers are moved by {moved_by:+d}", steps=abs(moved_by)
            )
        beyond = np.abs(error) > _HALF
        largest = float(np.abs(error).max())
        return Difference(
            "weights",
            where,
            f"{counted(int(beyond.sum()), 'integer', 'are', of=error.size)} not what rounding "
            f"the float weights gives, by up to {largest:.1f} steps, in "
            f"{listed(wrong, self.count)}",
            some,
            steps=round(largest),
        )

    def _scale(self, where: str, wrong: tuple[int, ...], some: tuple[int, ...]) -> Difference:
        rows = list(wrong)
        low, high = self.low[rows], np.minimum(self.high[rows], 1e6)
        factor = 2.0 / (low + high)
        one = float(low.max()) <= float(high.min())
        told = (
            f"x{2.0 / (low.max() + high.min()):.3g}"
            if one
            else f"x{factor.min():.3g} to x{factor.max():.3g}"
        )
        inside = f" in {listed(wrong, self.count)}" if not self.one_scale else ""
        if self.held[rows].all():
            told = f"{told} of the float ones{inside}"
            return Difference("weights", where, told, some)
        return Difference(
            "weight scale",
            where,
            f"{told}{inside} of what the float weights need",
            () if self.one_scale else some,
            factor=float(factor[np.abs(np.log(factor)).argmax()]),
        )

    def _turned(self) -> str:
        """Which axes of the weights changed places, in words; empty where none did."""
        if len(self.shape) < 2 or self.empty.any():
            return ""
        whole = self.real.reshape(self.shape)
        forms = [("inputs and outputs change places", whole.swapaxes(0, 1))]
        if len(self.shape) > 3:
            forms += [
                ("rows and columns of the kernel change places", whole.swapaxes(-1, -2)),
                ("the kernel is mirrored", whole[..., ::-1]),
                ("the kernel is turned", whole[..., ::-1, ::-1]),
                ("the kernel is mirrored", whole[..., ::-1, :]),
            ]
        for told, form in forms:
            if form.shape != self.shape:
                continue
            scaled = form.reshape(self.real.shape) / self.steps[:, None]
            low, high = self.factors(scaled, self.integers)
            if ((low <= high) | ~self.wrong).all():
                return told
        return ""

    @property
    def chosen(self) -> bool:
        """Whether a method rounded the weights up or down, most of them to the nearest.

        Not where another scale explains every integer, nor for one weight of a few.
        """
        if (self.low <= self.high).all():
            return False
        error = self.integers - np.clip(self.real / self.steps[:, None], *self.ends)
        others = np.abs(error) > _HALF
        return bool(
            others.sum() > 1
            and others.mean() >= _CHOSEN_SHARE
            and np.sqrt((error**2).mean()) <= _CHOSEN
            and np.abs(error).max() <= _CHOSEN_MOST
        )


def _held(layer: LintLayer, steps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the bias was rounded for the step of the sums that the weights' scale gives, (out,).

    Then the scale is what it was, and the weights are others.
    """
    stored = None if layer.bias_grid is None else np.atleast_1d(layer.bias_grid.scale)
    step = layer.step
    if step is None or stored is None or stored.size not in (1, len(steps)):
        return np.zeros(len(steps), np.bool_)
    return np.broadcast_to(np.isclose(step, stored, rtol=_FACTOR), len(steps))


def is_chosen(real: FloatLayer, layer: LintLayer) -> bool:
    """Whether a method of rounding chose the integers of a layer, as AdaRound and GPTQ do."""
    if layer.weights is None or layer.weight_grid is None:
        return False
    return _Rows(real, layer).chosen


def _bias(
    real: FloatLayer,
    layer: LintLayer,
    rows: _Rows,
    order: NDArray[np.int64] | None,
    where: str,
    source: str,
) -> Iterator[Difference]:
    """How the bias differs, and what its scale tells of the grid of the input."""
    step = layer.step
    stored = None if layer.bias_grid is None else np.atleast_1d(layer.bias_grid.scale)
    if layer.bias is None:
        if step is not None and np.abs(real.bias / step).max() > _BIAS_STEPS:
            yield Difference("bias", where, "it has none, and the float layer has one")
        return
    if stored is None or stored.size not in (1, rows.count):
        return
    integers, scale = layer.bias.astype(np.float64), stored.astype(np.float64)
    wrong = _bias_error(real.bias, scale, integers)
    if (
        wrong.any()
        and order is not None
        and not _bias_error(real.bias[order], scale, integers).any()
    ):
        wrong = np.zeros_like(wrong)
    apart = None if step is None else np.broadcast_to(step / scale, rows.count)
    if not wrong.any():
        if apart is None or rows.wrong.any():
            return
        ratio = float(np.median(apart))
        if abs(ratio - 1) > _FACTOR and np.allclose(apart, ratio, rtol=_FACTOR):
            told = f"x{ratio:.4g} of what the bias of {where!r} was rounded for"
            if (rows.low * ratio <= 1).all() and (rows.high * ratio >= 1).all():
                told += ", or the scale of its weights is, whose integers fit both"
            yield Difference("activation scale", source, told, factor=ratio)
        return
    channels = tuple(int(i) for i in np.flatnonzero(wrong))
    if (
        apart is not None
        and step is not None
        and not np.allclose(apart, 1, rtol=_FACTOR)
        and not _bias_error(real.bias, step, integers).any()
    ):
        told = f"x{1 / float(np.median(apart)):.4g} of the step of the sums"
        yield Difference("bias scale", where, told)
        return
    error = integers - real.bias / scale
    largest = float(error[np.abs(error).argmax()])
    told = f"{largest:+,.0f} steps" if len(channels) == 1 else f"by up to {abs(largest):,.0f} steps"
    yield Difference(
        "bias",
        where,
        f"{told} from the float one in {listed(channels, rows.count)}",
        channels if len(channels) < rows.count else (),
        steps=round(abs(largest)),
    )


def _bias_error(
    real: NDArray[np.float64], scale: NDArray[np.float64], integers: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Where integers are not what rounding gives, (out,)."""
    wanted = real / scale
    reach = _BIAS_STEPS + _BIAS_SHARE * np.abs(wanted).max()
    wrong: NDArray[np.bool_] = np.abs(integers - wanted) > reach
    return wrong
