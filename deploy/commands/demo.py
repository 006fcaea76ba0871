"""``edgeq demo``: the whole pipeline on data that comes with the package."""

from typing import Annotated

import typer

from edgeq.deploy.options import AsJson, Output


def command(
    output: Output,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            metavar="N",
            min=1,
            help="Passes over the training split, for each network (20).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of every training.")] = 0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an earlier demo, but for networks that it trained by the same recipe.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole pipeline on embedded data.

    It trains stable and baseline networks, exports them, and runs, compares and times them on every
    target that works here. The report is one HTML page that needs no network.
    """
    from edgeq.deploy import console

    console.note("loading torch, onnxruntime and the targets")
    from edgeq.deploy.demo.contrasts import CONFIG
    from edgeq.deploy.demo.run import EPOCHS, run
    from edgeq.deploy.demo.text import footnote, headline

    report = run(
        output,
        epochs=epochs or EPOCHS,
        seed=seed,
        overwrite=overwrite,
        say=console.note,
        progress=console.progress,
    )
    console.next_step("edgeq", "gate", "--config", output / "gate" / CONFIG)
    if as_json:
        console.write_json("demo", {"folder": str(output), "report": report})
        return
    table = headline(report)
    console.write_table(table.title, table.columns, table.rows, numbers=table.columns[1:])
    for line in (
        footnote(report),
        "",
        *report.verdict,
        f"The page: {(output / 'report.html').absolute()}",
    ):
        console.write(line)
