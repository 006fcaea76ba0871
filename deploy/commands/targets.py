"""``edgeq targets``: where artefacts can run, and how to mend what cannot."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import AsJson

if TYPE_CHECKING:
    from edgeq.deploy.listing import TargetRow


def command(
    name: Annotated[str | None, typer.Argument(help="Show this one in detail.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the targets.

    Whether each is usable here, what it opens, and how to mend it if it is not.
    """
    from edgeq.deploy import console
    from edgeq.deploy.listing import list_targets

    rows = list_targets(name)
    if as_json:
        console.write_json("targets", {"targets": rows})
    elif name is not None:
        console.write_table(rows[0].name, ("", ""), _details(rows[0]))
    else:
        columns = ("target", "usable", "opens", "integers", "latency", "runs on", "what it is, or how to mend it")
        console.write_table("Targets", columns, [_cells(row) for row in rows])


def _cells(row: "TargetRow") -> tuple[str, ...]:
    versions = ", ".join(f"{package} {version}" for package, version in row.versions.items())
    what = row.summary if row.usable else f"{row.why_not}; {row.mend}"
    return row.name, "yes" if row.usable else "no", ", ".join(row.formats), ", ".join(row.carriers) or "–", row.latency, versions, what


def _details(row: "TargetRow") -> list[tuple[str, str]]:
    return [
        ("what it is", row.summary),
        ("usable here", "yes" if row.usable else f"no: {row.why_not}"),
        *([] if row.usable else [("mend", row.mend)]),
        ("opens", ", ".join(row.formats)),
        ("computes in", ", ".join(row.carriers) or "float"),
        ("one scale a channel", "yes" if row.per_channel else "no"),
        ("inner tensors", "readable" if row.intermediates else "hidden"),
        ("its latency is", row.latency),
        *((package, version) for package, version in row.versions.items()),
    ]
