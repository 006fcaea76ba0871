"""``edgeq demo``: the whole pipeline on data that comes with the package."""

from typing import Annotated

import typer

from edgeq.deploy.options import AsJson, Output, Overwrite


def command(
    output: Output,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", min=1, help="Passes over the training split, for each network (60).")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of every training.")] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole pipeline on embedded data.

    Stable and baseline networks are trained, exported, run on every target that is usable here, compared and timed; the
    report is one HTML page that needs no network.
    """
    from edgeq.deploy import console
    from edgeq.deploy.demo import EPOCHS, run
    from edgeq.deploy.report import render_text

    with console.progress("demo") as advance:
        report = run(output, epochs=epochs or EPOCHS, seed=seed, overwrite=overwrite, say=console.note, progress=advance)
    if as_json:
        console.write_json("demo", {"folder": str(output), "report": report})
        return
    console.write_rendered(render_text(report))
    console.write(f"The whole report: {output / 'report.html'}")
