"""``edgeq models``: the networks that can be trained by name."""

from pathlib import Path
from typing import Annotated

import typer

from edgeq.deploy.options import AsJson
from edgeq.tabular import counted


def command(
    margins: Annotated[
        Path | None,
        typer.Option(
            "--margins",
            metavar="RUN",
            help="Instead, say of each step of a trained symmetric network how far it is from "
            "expanding.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks of the zoo.

    Each with the published configuration that its size is compared with.
    """
    from edgeq.deploy import console

    if margins is not None:
        _show_margins(margins, as_json=as_json)
        return
    from edgeq.models.zoo import describe, names, published

    console.next_step("edgeq", "train", "resnet8", "--data", "digits", "-o", "runs/first")
    entries, specs = [describe(name) for name in names()], published()
    if as_json:
        console.write_json("models", {"models": entries, "published": specs})
        return
    console.write_table(
        "Networks", ("name", "what it is"), [(entry.name, entry.summary) for entry in entries]
    )
    console.write_table(
        "Published configurations",
        ("name", "classes", "parameters", "published, M", "MACs", "source"),
        [
            (
                spec.name,
                str(spec.classes),
                f"{spec.params:,}",
                spec.published_params,
                f"{spec.macs:,}",
                spec.source,
            )
            for spec in specs
        ],
        numbers=("classes", "parameters", "published, M", "MACs"),
    )


def _show_margins(run: Path, *, as_json: bool) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.pipeline.step_margins import margins_of
    from edgeq.deploy.report.values import short

    found = margins_of(run)
    console.next_step("edgeq", "export", run, "-o", "exported")
    if as_json:
        console.write_json("models", {"run": str(run), "margins": found})
        return
    beyond = sum(each.margin > 1 for each in found)
    console.write_table(
        f"{run}: {counted(beyond, 'step', of=len(found))} can expand errors",
        ("step", "margin", "at most 1 by construction"),
        [
            (short(each.path), f"{each.margin:.4f}", "yes" if each.certified else "no")
            for each in found
        ],
        numbers=("margin",),
    )
