"""``edgeq bounds``: what is provable of a file, whatever its input is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import AsJson

if TYPE_CHECKING:
    from edgeq.tabular import Table


def command(
    file: Annotated[
        Path,
        typer.Argument(
            help="ONNX or TFLite file of any tool, a checkpoint or a training folder.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a file provably never does, whatever its input is.

    For each layer, the least accumulator in which no sum overflows, in exact integers; which
    channels leave 16, 24 and 32 bits; the pairs of products that can saturate on x86 without VNNI;
    and the channels that no input moves.
    """
    from edgeq.deploy import console
    from edgeq.deploy.bounds.run import bounds

    found = bounds(file)
    if as_json:
        console.write_json("bounds", {"accumulator_bits": found.accumulator_bits, "bounds": found})
    else:
        _show(found.table())


def _show(table: "Table") -> None:
    from edgeq.deploy import console
    from edgeq.deploy.report.values import short

    if not table.rows:
        console.write(table.title)
        return
    rows = [(short(first), *rest) for first, *rest in table.rows]
    console.write_table(table.title, table.columns, rows, numbers=table.columns[2:])
