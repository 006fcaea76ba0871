"""Everything that decides the outcome of training a graph network, as data.

The same recipe gives the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from edgeq.errors import UsageError
from edgeq.network.checks import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_text,
    read_record,
)
from edgeq.training.recipes.any_recipe import AnyRecipe

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOAT = 32
ActivationQuantizer = Literal["signed", "released"]


@dataclass(frozen=True, slots=True)
class GraphScheme:
    """How a graph network is quantised in training: where Ben-Yair et al. do, inside the steps.

    Attributes:
        weight_bits: width of the operators ``K``, 2 to 8; 32 leaves them in float, as the released
            code does.
        act_bits: width of the state and of the inner activation of each step, 2 to 8.
        activations: ``signed`` for Eq. 18 with a zero, or ``released`` for the quantiser of the
            released code, which no integer runtime can hold.
        bound: the activations' clipping bound at first, 6.0 as released; 0 chooses the one with the
            least squared error in a first pass.
    """

    weight_bits: int = 4
    act_bits: int = 8
    activations: ActivationQuantizer = "signed"
    bound: float = 6.0

    def __post_init__(self) -> None:
        for name, widest in (("weight_bits", FLOAT), ("act_bits", 8)):
            bits = getattr(self, name)
            if type(bits) is not int or not (2 <= bits <= 8 or bits == widest):
                more = ", or 32 for float" if widest == FLOAT else ""
                raise UsageError(f"{name} is {bits}", hint=f"choose a width from 2 to 8 bits{more}")
        check_choice("activations", self.activations, ActivationQuantizer)
        check_number("bound", self.bound, 0)

    @property
    def name(self) -> str:
        """The short name, such as ``4W/8A``."""
        return f"{self.weight_bits}W/{self.act_bits}A"


@dataclass(frozen=True, slots=True)
class GraphRecipe(AnyRecipe):
    """A training run on one graph.

    Full batch, Adam, the epoch of the lowest validation loss (Chen et al., GCNII, 2020).

    The step sizes and learning rates of the published Table 3 are not known;
    ``benchmarks/tables/seed-000-table-3-*.toml`` hold those that were chosen on validation nodes.

    Attributes:
        model: a name of the model zoo.
        data: a graph's name.
        scheme: the quantisation; None trains in FP32.
        epochs: at most.
        patience: epochs without a lower validation loss after which training stops.
        lr: of the first and the last layer.
        weight_decay: of the first and the last layer.
        lr_operators: of the operators ``K``, which have no weight decay.
        lr_bounds: of the clipping bounds, which have none either.
        step_size: ``h``.
        dropout: a share.
        seed: of initialisation and dropout.
        learn_gradient: learn a share of each pair of nodes in the gradient ``S``.
        track_test: record the test accuracy of every epoch, for comparison with figures that were
            selected by it; nothing is chosen by it.
    """

    scheme: GraphScheme | None = None
    epochs: int = 1500
    patience: int = 100
    lr: float = 0.01
    weight_decay: float = 5e-4
    lr_operators: float = 1e-4
    lr_bounds: float = 1e-3
    step_size: float = 0.5
    dropout: float = 0.6
    seed: int = 0
    learn_gradient: bool = False
    track_test: bool = False

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            check_text(name, getattr(self, name))
        for name, least in (("epochs", 1), ("patience", 1), ("seed", 0)):
            check_count(name, getattr(self, name), least)
        for name in ("lr", "weight_decay", "lr_operators", "lr_bounds", "step_size", "dropout"):
            check_number(name, getattr(self, name), 0)
        if self.dropout >= 1 or not self.lr or not self.step_size:
            raise UsageError(
                f"dropout {self.dropout}, lr {self.lr} or step_size {self.step_size} is "
                "out of range",
                hint="choose dropout < 1 and the others above zero",
            )
        for name in ("learn_gradient", "track_test"):
            check_flag(name, getattr(self, name))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises:
            UsageError: a field is unknown, missing, of another type or out of range.
        """
        scheme = content.get("scheme")
        known = None if scheme is None else read_record(GraphScheme, scheme, "scheme")
        return read_record(cls, {**content, "scheme": known}, "a recipe of a graph network")
