"""``edgeq audit``: how much of an artefact runs in integers on a target, and what does not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import AsJson, DataDir, Few, Split, Threads
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.deploy.evaluation.audit import Audit, AuditedOp


@with_preprocessing
def command(
    artefact: Annotated[
        Path, typer.Argument(help="An ONNX or TFLite file, of any tool.", show_default=False)
    ],
    target: Annotated[
        str,
        typer.Option(
            "--target", "-t", metavar="NAME", help="Where it is to run; see `edgeq targets`."
        ),
    ],
    min_integer_macs: Annotated[
        str | None,
        typer.Option(
            "--min-integer-macs",
            metavar="SHARE",
            help="Fail when a smaller share of the MACs is in integers: 95%.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Count the sums that saturate on this data; see `edgeq data`.",
        ),
    ] = None,
    data_dir: DataDir = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    split: Split = "test",
    limit: Few = 64,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Show which operators run in integers.

    For each operator: integer, float or delegated to other kernels, and the reason for float. It
    is read from the runtime itself, after its optimisation and delegation; no data is needed.
    Layers whose pairs of products can saturate on an x86 processor without VNNI are named with the
    largest sum of a pair.
    """
    from edgeq.data.splitting import limited
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.audit import audit, read_share, require_share
    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples
    from edgeq.deploy.evaluation.stage_runner import select
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.tables import show_remarks

    least = read_share(min_integer_macs) if min_integer_macs is not None else None
    samples = None
    if data is not None:
        source = load_data(data, data_dir, preprocess, [artefact])
        source = limited(source, split, limit)
        samples = Samples(source, select(source, split))
        show_remarks(filter(None, (source.remark,)))
    found = audit(artefact, target, threads=threads, samples=samples)
    console.write_json("audit", {"audit": found}, printed=as_json)
    if not as_json:
        _show(found)
    console.next_step("edgeq", "profile", artefact, "--target", target)
    if least is not None:
        require_share(found, least)


def _show(found: "Audit") -> None:
    from edgeq.deploy import console
    from edgeq.deploy.report.values import count
    from edgeq.deploy.tables import show_saturating

    title = (
        f"{found.artefact} on {found.target}: {_share(found)}; "
        f"{counted(found.transposes, 'transpose')}, {count(found.transposed_bytes)} bytes"
    )
    columns = ("operator", "type", "runs as", "state", "MACs", "why")
    console.write_table(title, columns, [_cells(op) for op in found.ops], numbers=("MACs",))
    show_saturating(found.saturating, found.remedy)


def _share(found: "Audit") -> str:
    from edgeq.deploy.report.values import count

    if any(op.macs is None for op in found.ops):
        return (
            f"at least {count(found.macs)} MACs, {count(found.integer_macs)} of them in "
            "integers; operators with ? do not tell theirs"
        )
    if found.integer_share is None:
        return "nothing multiplies"
    hybrid = (
        f", {100 * found.hybrid_macs / found.macs:.2f} % by hybrid kernels"
        if found.hybrid_macs
        else ""
    )
    return f"{100 * found.integer_share:.2f} % of {count(found.macs)} MACs in integers{hybrid}"


def _cells(op: "AuditedOp") -> tuple[str, ...]:
    from edgeq.deploy.report.values import count, short

    numbers = "hybrid" if op.hybrid else "integer" if op.integer else "float"
    state = f"{op.state}, {numbers}" if op.state in ("delegated", "fallback") else op.state
    macs = "?" if op.macs is None else count(op.macs) if op.macs else ""
    return short(op.name), op.op_type, op.kernel, state, macs, op.why
