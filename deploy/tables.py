"""Tables that more than one command prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.deploy.evaluation.verify import TensorCheck, Verification
    from edgeq.results import Failure, Hop, LayerSaturation, PairSaturation

MAX_ROWS = 25  # lines of a table; --json has all


def show_degrees(hop: Hop) -> None:
    """The error of a graph's nodes, by how many neighbours they have."""
    from edgeq.deploy import console

    if hop.degrees and hop.output.mse > 0:
        columns = ("neighbours", "nodes", "MSE", "SQNR dB")
        title = f"{hop.source} → {hop.stage}: states of nodes by their degree"
        rows = [each.cells for each in hop.degrees]
        console.write_table(title, columns, rows, numbers=columns[1:])


def show_verification(found: Verification) -> None:
    """The tensors of a verified file, those that differ most first."""
    from edgeq.deploy import console

    ranked = sorted(
        found.tensors,
        key=lambda checked: (
            -checked.worst,
            -checked.different / max(checked.compared, 1),
            checked.depth,
        ),
    )
    compared, different = sum(c.compared for c in ranked), sum(c.different for c in ranked)
    title = (
        f"Equal integers in, on {counted(found.samples, 'sample')} of {found.data}: "
        f"{counted(different, 'integer', 'differ', of=compared)}"
    )
    if len(ranked) > MAX_ROWS:
        title += f"; the {MAX_ROWS} worst of {len(ranked)} tensors"
    columns = ("tensor", "computed by", "compared", "different", "worst LSB", "off by LSB")
    console.write_table(
        title, columns, [_cells(checked) for checked in ranked[:MAX_ROWS]], numbers=columns[2:5]
    )


def show_remarks(remarks: Iterable[str]) -> None:
    """What a reader of the table above has to know, on standard error."""
    from edgeq.deploy import console

    for remark in remarks:
        console.note(f"edgeq: {remark}")


def show_failures(failures: Sequence[Failure]) -> None:
    """The stages that could not run, where there are any."""
    from edgeq.deploy import console

    if failures:
        rows = [(failure.name, failure.what, failure.hint) for failure in failures]
        console.write_table("Did not run", ("stage", "why", "hint"), rows)


def show_saturation(found: Iterable[PairSaturation | None]) -> None:
    """What is lost on this machine and what to do about it, each file on each target.

    Nothing where nothing is.
    """
    from edgeq.deploy import console

    for each in found:
        if each is not None:
            console.write(f"{each.name}: {each.what}\n  hint: {each.hint}\n")


def show_saturating(layers: Sequence[LayerSaturation], remedy: str) -> None:
    """The layers that lose sums on x86 without VNNI, worst first, where there are any.

    Then what to do about it.
    """
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.saturation.pair_saturation import INSTRUCTION_SETS
    from edgeq.deploy.report.values import count, short

    if not layers:
        return
    ranked = sorted(
        layers, key=lambda layer: (-layer.wrong_sums, -layer.saturated_pairs, -abs(layer.extreme))
    )
    title = (
        "Pairs of products can leave 16 bits (-32,768 to 32,767) in "
        f"{counted(len(layers), 'layer')} on x86 with {INSTRUCTION_SETS}"
    )
    if len(ranked) > MAX_ROWS:
        title += f"; the {MAX_ROWS} worst"
    has_sums = any(layer.sums for layer in layers)
    columns = (
        "layer",
        "type",
        "largest sum of a pair",
        "pairs of weights",
        *(("sums", "wrong sums") if has_sums else ()),
    )
    rows = [
        (
            short(layer.layer),
            layer.op_type,
            f"{layer.extreme:,}",
            f"{layer.pairs:,} of {layer.total:,}",
            *(
                ((count(layer.sums), count(layer.wrong_sums)) if layer.sums else ("?", "?"))
                if has_sums
                else ()
            ),
        )
        for layer in ranked[:MAX_ROWS]
    ]
    console.write_table(title, columns, rows, numbers=columns[2:])
    console.write(f"hint: {remedy}")


def _cells(checked: TensorCheck) -> tuple[str, ...]:
    from edgeq.deploy.report.values import count, short, steps

    numbers = (checked.compared, checked.different, checked.worst)
    return (
        short(checked.tensor),
        short(checked.operator),
        *map(count, numbers),
        steps(checked.lsb, checked.worst),
    )
