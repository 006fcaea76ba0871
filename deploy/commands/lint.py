"""``edgeq lint``: what is wrong with a model file, told in seconds and without running it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import AsJson, Overwrite
from edgeq.linting import RULES, SEVERITIES
from edgeq.tabular import counted, few_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.lint.run import LintReport
    from edgeq.linting import Finding

_MOST_NOTES = 3  # of one rule, each in a row of its own


def _list_rules(asked: bool) -> None:
    """What ``--rules`` shows."""
    if not asked:
        return
    from edgeq.deploy import console

    rules = {name: RULES.load(name) for name in RULES.names()}
    rows = [(name, rule.severity, rule.summary) for name, rule in rules.items()]
    console.write_table("Rules of edgeq lint", ("rule", "severity", "finds"), rows)
    raise typer.Exit


def command(
    files: Annotated[
        list[Path],
        typer.Argument(help="ONNX or TFLite files, of any tool.", show_default=False),
    ],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="SEVERITY or RULE",
            help="Exit with 1 on findings of this rule, or of this severity and worse: error, "
            "warning or note; repeat, or use commas.",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Add what is known of this device; edgeq targets devices lists them.",
        ),
    ] = "",
    sarif: Annotated[
        Path | None,
        typer.Option(
            "--sarif", metavar="FILE", help="Write the findings as SARIF 2.1.0, for code scanning."
        ),
    ] = None,
    overwrite: Overwrite = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Show each note, where many layers have one of a rule."),
    ] = False,
    as_json: AsJson = False,
    _rules: Annotated[
        bool,
        typer.Option(
            "--rules", help="List the rules, and leave.", callback=_list_rules, is_eager=True
        ),
    ] = False,
) -> None:
    """Say what is wrong with quantised files.

    Dead channels, biases and sums beyond 32 bits, integers read on another grid than they were
    written on, layers in float, ranges that are clipped or unused, and more. Nothing is run, and no
    data is needed. An error means wrong numbers, a warning a certain loss, a note is worth a look.
    """
    from edgeq.deploy import console
    from edgeq.deploy.lint.run import lint, require_clean, require_known
    from edgeq.deploy.lint.sarif import sarif as as_sarif
    from edgeq.files import check_output, write_json
    from edgeq.targets.devices import find

    asked = [name.strip() for text in fail_on or () for name in text.split(",") if name.strip()]
    require_known(asked)
    if sarif is not None:
        check_output(sarif, overwrite=overwrite)
    known = find(device) if device else None
    reports = [lint(file, device=known) for file in files]
    if sarif is not None:
        write_json(sarif, as_sarif(reports), overwrite=overwrite)
    console.write_json("lint", {"files": reports}, printed=as_json)
    if not as_json:
        for report in reports:
            _show(report, verbose=verbose)
    worse = [report for report in reports if report.findings]
    wrong = [report.file for report in worse if not _is_float(report)]
    if worse and not wrong:
        in_float = worse[0].file
        console.next_step("edgeq", "calibrate", in_float, "--data", "NAME", "-o", "quantised.onnx")
    else:
        verb = "why" if wrong else "compare"
        console.next_step("edgeq", verb, *(wrong or files), "--data", "NAME")
    require_clean(reports, asked)


def _is_float(report: "LintReport") -> bool:
    """Whether it is an ONNX file in float that can be calibrated, and is not called quantised."""
    found = {(each.rule, each.severity) for each in report.findings}
    broken = any(severity == "error" for _, severity in found)
    return report.format == "onnx" and ("float-in-fact", "note") in found and not broken


def _show(report: "LintReport", *, verbose: bool) -> None:
    from edgeq.deploy import console

    counts = [
        (severity, sum(each.severity == severity for each in report.findings))
        for severity in SEVERITIES
    ]
    told = ", ".join(f"{n} {severity}{'s' * (n > 1)}" for severity, n in counts if n)
    title = f"{report.file}: {told or 'nothing found'} in {counted(report.layers, 'layer')}"
    if not report.findings:
        console.write(title)
        return
    rows = _rows(report.findings, most=len(report.findings) if verbose else _MOST_NOTES)
    console.write_table(title, ("severity", "rule", "where", "what"), rows)
    hints = dict.fromkeys((each.rule, each.hint) for each in report.findings)
    console.write("\n".join(f"{rule}: {hint}" for rule, hint in hints))


def _rows(findings: "Sequence[Finding]", most: int) -> list[tuple[str, str, str, str]]:
    """A row for each finding, and one for all notes of a rule that has more than so many.

    An error or a warning has a row of its own: each one is to be seen to.
    """
    from edgeq.deploy.report.values import short

    notes: dict[str, list[Finding]] = {}
    for each in findings:
        if each.severity == "note":
            notes.setdefault(each.rule, []).append(each)
    rows: list[tuple[str, str, str, str]] = []
    for each in findings:
        alike = notes.get(each.rule, []) if each.severity == "note" else []
        if len(alike) <= most:
            rows.append((each.severity, each.rule, short(each.node), each.message))
        elif each is alike[0]:
            where = few_of([short(other.node) for other in alike], most)
            first = f"in {len(alike):,} places, first: {each.message}; --verbose shows each"
            rows.append((each.severity, each.rule, where, first))
    return rows
