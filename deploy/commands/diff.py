"""``edgeq diff``: what differs between two model files, without running either."""

from pathlib import Path
from typing import Annotated

import typer

from edgeq.deploy.options import AsJson


def command(
    before: Annotated[
        Path,
        typer.Argument(
            help="The file that is taken as right: ONNX or TFLite of any tool, a checkpoint or a "
            "training folder.",
            show_default=False,
        ),
    ],
    after: Annotated[Path, typer.Argument(help="The other one.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say what differs between two models, in seconds and without running them.

    Layers and grids are paired by name, else by their order, across formats too. Scales that were
    multiplied, zero points that moved, channels in another order, weights, biases: each is named
    with its layer and channels. Of a float ONNX file and a quantised one, what quantisation
    explains is counted, only the rest is listed, and what files alone cannot tell is named. It
    exits with status 1 if anything differs, or anything that this does not explain.
    """
    from edgeq.deploy import console
    from edgeq.deploy.diff.run import diff
    from edgeq.deploy.report.values import short
    from edgeq.errors import GateFailed

    found = diff(before, after)
    shown = found.table()
    console.write_json("diff", {"equal": found.equal, "diff": found}, printed=as_json)
    if not as_json and not shown.rows:
        console.write(shown.title)
    elif not as_json:
        rows = [(short(where), *rest) for where, *rest in shown.rows]
        console.write_table(shown.title, shown.columns, rows)
    if not as_json and found.unjudged:
        console.write(found.unjudged)
    if found.equal and found.weights is not None:
        console.next_step("edgeq", "why", before, after, "--data", "NAME")
    elif found.equal:
        console.next_step("edgeq", "gate", "init", before, "--data", "NAME")
    else:
        console.next_step("edgeq", "compare", before, after, "--data", "NAME")
    if not found.equal:
        raise GateFailed(
            f"{before} and {after} differ",
            hint=f"edgeq compare {before} {after} --data NAME shows what that does to the answers",
        )
