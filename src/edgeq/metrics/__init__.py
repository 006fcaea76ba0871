"""Drift metrics: how far a tensor of one stage is from the same tensor of another.

One metric a file, by entry point in ``edgeq.metrics``. Each accumulates batch by batch in float64,
so ten thousand samples need no more memory than one. All of them are in every JSON document; a
metric says in which tables it has a column.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from edgeq.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Table = Literal["hops", "tensors", "survey", "report"]
"""Two tables of ``edgeq compare``, that of ``edgeq survey``, and those of the report."""

PLACED = ("mse", "rmse", "sqnr_db", "max_abs")
"""Metrics whose columns have a place of their own; the columns of all others follow them."""


class TensorPair:
    """One batch of a tensor in two stages, with the sums that several metrics need.

    Args:
        reference: float64, the values taken as true, of any shape.
        other: float64, the values compared with them, of the same shape.
    """

    def __init__(self, reference: NDArray[np.float64], other: NDArray[np.float64]) -> None:
        self.reference, self.other = reference, other

    @cached_property
    def error(self) -> NDArray[np.float64]:
        """``other - reference``."""
        return self.other - self.reference

    @cached_property
    def squared_error(self) -> float:
        """The sum of the squared errors."""
        return dot(self.error, self.error)

    @cached_property
    def signal(self) -> float:
        """The sum of the squared reference values."""
        return dot(self.reference, self.reference)


def dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The sum of the products of two tensors of one shape."""
    import numpy as np

    return float(np.vdot(a, b))


class DriftMetric(Protocol):
    """Accumulates one figure over the batches of one tensor.

    Attributes:
        heading: of its column, with the unit.
        tables: where it has a column.
        format: how a table writes its value, as a format specification: ``.4g``.
    """

    heading: ClassVar[str]
    tables: ClassVar[frozenset[Table]]
    format: ClassVar[str]

    def update(self, pair: TensorPair) -> None:
        """Add one batch."""
        ...

    def result(self) -> float:
        """The figure over all batches; of no batches, that of equal tensors."""
        ...


METRICS: Registry[type[DriftMetric]] = Registry("metric")
"""The metrics by name; a name is also the key in JSON."""


def metric_names() -> list[str]:
    """Every metric, those with a place of their own first."""
    return [*PLACED, *(name for name in METRICS.names() if name not in PLACED)]


def further_metrics(table: Table) -> dict[str, type[DriftMetric]]:
    """The metrics that have a column in a table and no place of their own, by name."""
    found = {name: METRICS.load(name) for name in metric_names()[len(PLACED) :]}
    return {name: metric for name, metric in found.items() if table in metric.tables}
