"""``edgeq operators``: which ONNX operators become which integer TFLite operators, and when."""

from typing import Annotated

import typer

from edgeq.deploy.options import AsJson


def command(
    name: Annotated[
        str | None, typer.Argument(help="Show this ONNX operator only.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the operators that can be written as integer TFLite.

    `edgeq export` refuses others by the name of their node; --allow-float keeps them in float.
    """
    from edgeq.deploy import console
    from edgeq.errors import UnknownName
    from edgeq.exporters.tflite.operators import operators

    rows = operators()
    if name is not None and name not in {row.onnx for row in rows}:
        raise UnknownName("operator", name, (row.onnx for row in rows))
    rows = tuple(row for row in rows if name in (None, row.onnx))
    if as_json:
        console.write_json("operators", {"operators": rows})
    else:
        console.write_table(
            "Operators",
            ("ONNX", "TFLite", "when"),
            [(row.onnx, row.tflite, row.conditions) for row in rows],
        )
