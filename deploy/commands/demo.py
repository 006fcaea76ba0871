"""``edgeq demo``: the whole pipeline on data that comes with the package."""

from pathlib import Path
from typing import Annotated

import typer

from edgeq.deploy.options import AsJson


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Where the results go.")
    ] = Path("demo"),
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

    It trains six small networks, exports them, and runs, compares and times them on every target
    that works here. It ends with what it found: stable networks against plain ones, FP32 against
    integers, files as trained against a conversion afterwards, and a gate that finds a planted
    fault. The page of it is one HTML file that needs no network.
    """
    from edgeq.deploy import console

    console.note("loading torch, onnxruntime and the targets")
    from edgeq.deploy.demo.contrasts import CONFIG
    from edgeq.deploy.demo.run import EPOCHS, run
    from edgeq.deploy.demo.text import findings, footnote, headline

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
    console.write(footnote(report))
    console.write("")
    found = findings(report)
    console.write_table(found.title, found.columns, found.rows)
    console.write(f"The page: {(output / 'report.html').absolute()}")
