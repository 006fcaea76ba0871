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

    `edgeq calibrate` takes them in float models, and rewrites some more into them. `edgeq export`
    refuses others by the name of their node; --allow-float keeps them in float.
    """
    from edgeq.calibration.operators import REWRITTEN
    from edgeq.deploy import console
    from edgeq.errors import UnknownName
    from edgeq.exporters.tflite.operators import operators

    rows = operators()
    if name is not None and name not in {*(row.onnx for row in rows), *REWRITTEN}:
        raise UnknownName("operator", name, {*(row.onnx for row in rows), *REWRITTEN})
    rows = tuple(row for row in rows if name in (None, row.onnx))
    rewritten = {each: what for each, what in REWRITTEN.items() if name in (None, each)}
    console.next_step("edgeq", "calibrate", "FILE", "--data", "NAME", "-o", "calibrated.onnx")
    if as_json:
        console.write_json("operators", {"operators": rows, "calibrated_as": rewritten})
        return
    if rows:
        console.write_table(
            "Operators",
            ("ONNX", "TFLite", "when"),
            [(row.onnx, row.tflite, row.conditions) for row in rows],
        )
    if rewritten:
        console.write_table(
            "Rewritten by edgeq calibrate", ("ONNX", "calibrated as"), list(rewritten.items())
        )
