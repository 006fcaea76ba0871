"""What the symmetric blocks have in common.

Weights that stay tied, and a bound that can be enforced on their step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from edgeq.models.stability import step_bound
from edgeq.models.stability.step_bound import StepNorm, first_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

StepMode = Literal["paper", "certified"]


@runtime_checkable
class Step(Protocol):
    """A module that knows how far a step ``x - h K'^T f(K' x)`` is from expanding.

    Attributes:
        certified: whether it promises that the step does not.
    """

    certified: bool

    def certify(self) -> None:
        """Make the scales with which ``h L ||K'||^2 <= 2`` holds for the present weights."""
        ...

    def margin(self) -> float:
        """``h L ||K'||^2 / 2``, from an upper bound on the norm; infinity for nothing known."""
        ...


@dataclass(frozen=True, slots=True)
class StepMargin:
    """One step of a network.

    Attributes:
        path: of its module.
        margin: see :meth:`Step.margin`; the step does not expand where it is at most 1.
        certified: whether that is promised.
    """

    path: str
    margin: float
    certified: bool


def certify(model: nn.Module) -> None:
    """Make the scales of every step that promises a bound.

    For now and then in training, since ``eval()`` does it too.
    """
    for _, module in _steps(model):
        if module.certified:
            module.certify()


def start_steps(model: nn.Module) -> None:
    """Let certified steps start so short that all of them together keep the signal."""
    norms = [module for module in model.modules() if isinstance(module, StepNorm)]
    for norm in norms:
        norm.start(first_share(len(norms)))


def margins(model: nn.Module) -> dict[str, float]:
    """``h L ||K'||^2 / 2`` of every step that promises a bound, by module path.

    At most 1 where it holds.
    """
    return {path: module.margin() for path, module in _steps(model) if module.certified}


def step_margins(model: nn.Module) -> tuple[StepMargin, ...]:
    """Every step, whether it promises a bound or not, in the order of its modules."""
    return tuple(StepMargin(path, step.margin(), step.certified) for path, step in _steps(model))


def _steps(model: nn.Module) -> Iterator[tuple[str, Step]]:
    for path, module in model.named_modules():
        if isinstance(module, Step):
            yield path, module


class SymmetricBlock(nn.Module, ABC):
    """A step with an operator and its adjoint.

    Args:
        step_size: ``h``.
        mode: ``paper`` is the published layout; ``certified`` has no BatchNorm behind ``K^T``, and
            the one behind ``K`` is so scaled that the step never expands.
    """

    bn1: nn.BatchNorm2d
    bn2: nn.Module

    def __init__(self, step_size: float, mode: StepMode) -> None:
        super().__init__()
        self.step_size = step_size
        self.certified = mode == "certified"
        nn.Module.register_load_state_dict_post_hook(self, _tie_again)

    def first_norm(self, channels: int) -> nn.BatchNorm2d:
        """What stands behind ``K``."""
        if not self.certified:
            return nn.BatchNorm2d(channels)
        norm = StepNorm(channels, self.step_size)
        norm.bound_by(self._forms)
        return norm

    def _forms(self) -> Sequence[Sequence[Tensor]]:
        return (self.kernels(),)

    def second_norm(self, channels: int) -> nn.Module:
        """What stands behind ``K^T``."""
        return nn.Identity() if self.certified else nn.BatchNorm2d(channels)

    @abstractmethod
    def tie(self) -> None:
        """Make ``K^T`` use the very parameters of ``K``."""

    @abstractmethod
    def kernels(self) -> Sequence[Tensor]:
        """The weights of the convolutions that are ``K``, in order."""

    def certify(self) -> None:
        """Make the scales behind ``K`` those of the present weights."""
        if isinstance(self.bn1, StepNorm):
            self.bn1.certify()

    def margin(self) -> float:
        """``h L ||K'||^2 / 2``, from an upper bound on the norm; infinity for nothing known."""
        second = self.bn2 if isinstance(self.bn2, nn.BatchNorm2d) else None
        return step_bound.margin(self.bn1, self.kernels(), self.step_size, second)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; scales are made before anything is evaluated."""
        super().train(mode)
        if not mode and self.certified:
            self.certify()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert, and tie again.

        PyTorch makes two parameters of one where it cannot change them in place.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.tie()
        return self


def _tie_again(block: nn.Module, _keys: object) -> None:
    """After ``load_state_dict(assign=True)``, which puts another tensor into each module."""
    if isinstance(block, SymmetricBlock):
        block.tie()
