"""``edgeq audit``: how much of an artefact runs in integers on a target, and what does not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import AsJson, Threads

if TYPE_CHECKING:
    from edgeq.deploy.audit import Audit, AuditedOp


def command(
    artefact: Annotated[Path, typer.Argument(help="An ONNX or TFLite file, of any tool.", show_default=False)],
    target: Annotated[str, typer.Option("--target", "-t", metavar="NAME", help="Where it is to run; see `edgeq targets`.")],
    min_integer_macs: Annotated[
        str | None, typer.Option("--min-integer-macs", metavar="SHARE", help="Fail when a smaller share of the MACs is in integers: 95%.")
    ] = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Tell what really runs in integers.

    For each operator: whether the target computes it in integers or in float, or leaves it to other kernels, and what keeps it
    there. Read from the runtime itself, after its own optimisation and delegation; no data is needed.
    """
    from edgeq.deploy import console
    from edgeq.deploy.audit import audit, read_share, require_share

    least = read_share(min_integer_macs) if min_integer_macs is not None else None
    found = audit(artefact, target, threads=threads)
    if as_json:
        console.write_json("audit", {"audit": found})
    else:
        _show(found)
    if least is not None:
        require_share(found, least)


def _show(found: "Audit") -> None:
    from edgeq.deploy import console
    from edgeq.deploy.report.values import count

    share = (
        "nothing multiplies"
        if found.integer_share is None
        else f"{100 * found.integer_share:.2f} % of {count(found.macs)} MACs in integers"
    )
    title = f"{found.artefact} on {found.target}: {share}; {found.transposes} transposes, {count(found.transposed_bytes)} bytes"
    columns = ("operator", "type", "runs as", "state", "MACs", "why")
    console.write_table(title, columns, [_cells(op) for op in found.ops], numbers=("MACs",))


def _cells(op: "AuditedOp") -> tuple[str, ...]:
    from edgeq.deploy.report.values import count
    from edgeq.deploy.tables import short

    state = op.state if op.state in ("integer", "float", "removed") else f"{op.state}, {'integer' if op.integer else 'float'}"
    return short(op.name), op.op_type, op.kernel, state, count(op.macs) if op.macs else "", op.why
