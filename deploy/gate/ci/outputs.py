"""Where a gate's files go, and the flags that say so."""

from __future__ import annotations

import inspect
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.errors import OutputError, UnknownName
from edgeq.files import check_output, write_files
from edgeq.plain import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.deploy.gate.result import GateResult

ANNOTATIONS = ("auto", "github", "none")
_MOST_DELTAS = 200  # in the outputs of a step, which may have 1 MiB together


def _flag(name: str, metavar: str, text: str) -> Any:
    return Annotated[Path | None, typer.Option(name, metavar=metavar, help=text)]


_FILES = {
    "junit": _flag("--junit", "FILE", "Write the findings as JUnit XML, a test case for each."),
    "sarif": _flag("--sarif", "FILE", "Write them as SARIF 2.1.0, for code scanning."),
    "markdown": _flag("--markdown", "FILE", "Write a summary in Markdown, for a comment."),
    "code_quality": _flag(
        "--code-quality", "FILE", "Write a code quality report, which GitLab shows at the lines."
    ),
}
_ANNOTATE = Annotated[
    str,
    typer.Option(
        "--annotations",
        metavar="|".join(ANNOTATIONS),
        help="Print a line of GitHub's for each finding, on standard error; `auto` does so in "
        "GitHub Actions.",
    ),
]


@dataclass(frozen=True, slots=True)
class CiOutputs:
    """Where a gate is written to for others to read; nothing where a name is None.

    Attributes:
        junit: JUnit XML.
        sarif: SARIF 2.1.0.
        markdown: a summary.
        code_quality: the report of GitLab.
        annotations: one of :data:`ANNOTATIONS`.
    """

    junit: Path | None = None
    sarif: Path | None = None
    markdown: Path | None = None
    code_quality: Path | None = None
    annotations: str = "auto"

    def check(self) -> None:
        """Refuse early what could not be written; files of an earlier run are replaced.

        Raises:
            OutputError: a file cannot be written, or two are the same.
            UnknownName: there are no such annotations.
        """
        if self.annotations not in ANNOTATIONS:
            raise UnknownName("kind of annotations", self.annotations, ANNOTATIONS)
        files = [getattr(self, name) for name in _FILES]
        named = [path.resolve() for path in files if path is not None]
        if len(set(named)) < len(named):
            raise OutputError("two outputs go to one file", hint="name a file for each")
        for path in named:
            check_output(path, overwrite=True)

    def write(self, result: GateResult) -> None:
        """Write all that was asked for, and what the service that runs us reads.

        Raises:
            OutputError: a file cannot be written.
        """
        from edgeq.deploy import console

        wanted: dict[Path, bytes] = {}
        for name, content in contents(result).items():
            console.attach(_NAMES[name], content)
            path = getattr(self, name)
            if path is not None:
                wanted[path] = content
        write_files(wanted, overwrite=True)
        on_github = os.environ.get("GITHUB_ACTIONS") == "true"
        if self.annotations == "github" or (self.annotations == "auto" and on_github):
            from edgeq.deploy.gate.ci.annotations import github

            for told in github(result):
                console.command(told)
        self._tell_github(result)

    def _tell_github(self, result: GateResult) -> None:
        summary, outputs = (os.environ.get(f"GITHUB_{name}") for name in ("STEP_SUMMARY", "OUTPUT"))
        if summary:
            from edgeq.deploy.gate.ci.markdown import markdown

            _append(Path(summary), markdown(result))
        if outputs:
            _append(Path(outputs), step_outputs(result, self.markdown))


_NAMES = {
    "junit": "junit.xml",
    "sarif": "gate.sarif",
    "markdown": "summary.md",
    "code_quality": "code-quality.json",
}
"""Of the files in a run folder."""


def contents(result: GateResult) -> dict[str, bytes]:
    """Every form of a gate that is a file."""
    from edgeq.deploy.gate.ci.annotations import gitlab
    from edgeq.deploy.gate.ci.junit import junit
    from edgeq.deploy.gate.ci.markdown import markdown
    from edgeq.deploy.gate.ci.sarif import sarif

    return {
        "junit": junit(result),
        "sarif": _json(sarif(result)),
        "markdown": markdown(result).encode(errors="backslashreplace"),
        "code_quality": _json(gitlab(result)),
    }


def step_outputs(result: GateResult, report: Path | None) -> str:
    """The outputs of a step, in the form that GITHUB_OUTPUT has."""
    deltas = [
        {"stage": each.stage, "metric": each.metric, "before": each.before, "now": each.now}
        for each in result.deltas[:_MOST_DELTAS]
    ]
    values = {
        "passed": "true" if result.passed else "false",
        "outcome": result.outcome,
        "report-path": "" if report is None else str(report),
        "deltas": json.dumps(to_plain(deltas)),
        "regressed-metrics": json.dumps(list(result.regressed_metrics)),
    }
    # no value can end itself early and set another output: nobody knows this word before
    end = f"end-{secrets.token_hex(16)}"
    return "".join(f"{name}<<{end}\n{value}\n{end}\n" for name, value in values.items())


def with_ci_outputs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of :class:`CiOutputs` in the place of its argument ``outputs``."""
    signature = inspect.signature(command)
    keyword = inspect.Parameter.KEYWORD_ONLY
    flags = [
        inspect.Parameter(name, keyword, default=None, annotation=kind)
        for name, kind in _FILES.items()
    ]
    annotate = inspect.Parameter("annotations", keyword, default="auto", annotation=_ANNOTATE)
    others = [
        parameter.replace(kind=keyword)
        for parameter in signature.parameters.values()
        if parameter.name != "outputs"
    ]

    def wrapped(**given: Any) -> None:
        outputs = CiOutputs(**{name: given.pop(name) for name in (*_FILES, "annotations")})
        outputs.check()
        command(**given, outputs=outputs)

    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*others, *flags, annotate])
    return wrapped


def _append(path: Path, told: str) -> None:
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(told)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}",
            hint="GITHUB_STEP_SUMMARY and GITHUB_OUTPUT name files of the job",
        ) from error


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
