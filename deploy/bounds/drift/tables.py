"""Certificates as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.values import general
from edgeq.tabular import Table, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.bounds.drift.certificate import Certificate


def answers_table(found: Sequence[Certificate]) -> Table:
    """How far answers can be from the reference, and how many of them are certain."""
    return Table(
        "How far a logit can be from FP32",
        (
            *("against", "kernels within, LSB", "bound", "median", "measured"),
            *("answers that cannot change", "samples"),
        ),
        [
            (
                each.reference if each.samples else f"{each.reference}, every input",
                f"{each.kernel_lsb:g}",
                general(each.bound),
                general(each.median_bound),
                general(each.measured),
                f"{each.certified:,} ({share(each.certified / each.samples)} %)"
                if each.samples
                else "",
                f"{each.samples:,}" if each.samples else "",
            )
            for each in found
        ],
    )


def tensors_table(found: Certificate) -> Table:
    """The errors of each tensor, bound beside measurement."""
    return Table(
        f"Against {found.reference}, tensor by tensor",
        (
            *("tensor", "type", "bound, LSB", "measured, LSB", "bound, l2", "measured, l2"),
            "a step expands by at most",
        ),
        [
            (
                each.tensor,
                each.op_type or "input",
                general(each.bound),
                general(each.measured),
                general(each.norm_bound),
                general(each.norm_measured),
                "" if each.expands is None else f"{each.expands:.6g}",
            )
            for each in found.tensors
        ],
    )


def held_table(found: Sequence[Certificate]) -> Table:
    """What runtimes answered."""
    return Table(
        "Runtimes held against the bound",
        ("target", "drift", "bound", "samples beyond it", "certain answers changed"),
        [
            (
                held.target,
                general(held.drift),
                general(each.bound),
                str(held.violations),
                str(held.changed),
            )
            for each in found
            for held in each.held
        ],
    )
