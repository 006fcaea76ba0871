"""What the symmetric blocks have in common.

Weights that stay tied, and a bound that can be enforced on their step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from edgeq.models.stability import step_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

StepMode = Literal["paper", "certified"]


@runtime_checkable
class Certifiable(Protocol):
    """A module that can hold a step ``x - h K'^T f(K' x)`` so small that it does not expand.

    Attributes:
        certified: whether it promises to.
    """

    certified: bool

    def certify(self) -> None:
        """Enforce ``h L ||K'||^2 <= 2`` on the present weights."""
        ...

    def margin(self) -> float:
        """``h L ||K'||^2 / 2``, from an upper bound on the norm."""
        ...


def certify(model: nn.Module) -> None:
    """Enforce the bound in every block that promises it.

    For now and then in training, since ``eval()`` does it too.
    """
    for _, module in _promising(model):
        module.certify()


def margins(model: nn.Module) -> dict[str, float]:
    """``h L ||K'||^2 / 2`` of every step that promises a bound, by module path.

    At most 1 where it holds.
    """
    return {path: module.margin() for path, module in _promising(model)}


def _promising(model: nn.Module) -> Iterator[tuple[str, Certifiable]]:
    for path, module in model.named_modules():
        if isinstance(module, Certifiable) and module.certified:
            yield path, module


class SymmetricBlock(nn.Module, ABC):
    """A step with an operator and its adjoint.

    Args:
        step_size: ``h``.
        mode: ``paper`` is the published layout; ``certified`` has no BatchNorm behind ``K^T``, and
            ``eval()`` scales the one behind ``K`` down until the step does not expand.
    """

    bn1: nn.BatchNorm2d

    def __init__(self, step_size: float, mode: StepMode) -> None:
        super().__init__()
        self.step_size = step_size
        self.certified = mode == "certified"
        self.register_load_state_dict_post_hook(_tie_again)  # type: ignore[no-untyped-call]

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
        """Scale the BatchNorm behind ``K`` down until the step does not expand."""
        step_bound.project(self.bn1, self.kernels(), self.step_size)

    def margin(self) -> float:
        """``h L ||K'||^2 / 2``, from an upper bound on the norm."""
        return step_bound.margin(self.bn1, self.kernels(), self.step_size)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the bound is enforced before anything is evaluated."""
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
