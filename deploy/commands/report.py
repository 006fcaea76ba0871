"""``edgeq report``: one page of many results."""

from pathlib import Path
from typing import Annotated

import typer

from edgeq.deploy.options import Overwrite


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of --run, folders of such folders, or files of --json.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the page goes: .html; or .md for the verdict, .csv for every figure.",
        ),
    ] = Path("report.html"),
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Its heading.")] = "",
    overwrite: Overwrite = False,
) -> None:
    """Make one page of results: the verdict, what to do next, and every figure behind it.

    The page is one file that needs no network. Results about the same files are one history: the
    newest is shown in full, the others run by run. Results of different commands stand together,
    such as a comparison, a profile, a gate and what lint found.
    """
    from edgeq.deploy import console
    from edgeq.deploy.report.documents import read_all
    from edgeq.deploy.report.findings import judge
    from edgeq.deploy.report.sections.history import subjects_of
    from edgeq.deploy.runs.page import check_page, write_page
    from edgeq.tabular import few_of

    check_page(output, overwrite=overwrite)
    documents = read_all(runs)
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [document.label for document in documents]
    write_page(output, documents, title or few_of(names), overwrite=overwrite)
    console.write(f"The page: {output.absolute()}")
    steps = judge([each[-1] for each in subjects_of(documents)]).steps
    console.next_step(
        next((step.command for step in steps if step.command), "open it in a browser")
    )
