"""The pytest plug-in: ``edgeq_gate`` gives what a gate says, ``@pytest.mark.edgeq`` says of what.

pytest imports this module in every run where edgeq is installed, so it imports nothing of ours
before a test asks for the fixture.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.gate.result import GateResult

_MARKER = (
    "edgeq(config, against, rule, stage, **arguments): which gate the fixture edgeq_gate runs, and "
    "which of its findings it gives. Further arguments are those of edgeq.gate, for a gate without "
    "a file of rules."
)
_GATES = pytest.StashKey[dict[str, "GateResult"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flags of the plug-in."""
    parser.getgroup("edgeq").addoption(
        "--edgeq-against",
        metavar="REVISION",
        default="",
        help="Read the baselines of gates from this git revision, such as origin/main.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[_GATES] = {}


@pytest.fixture
def edgeq_gate(request: pytest.FixtureRequest) -> GateResult:
    """What the gate of the nearest ``edgeq-gate.toml``, or of the marker, says.

    A gate runs once in a session, however many tests ask for it. A relative path starts at the
    folder of the test.
    """
    asked: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("edgeq"))):
        if marker.args:
            raise pytest.UsageError(
                "@pytest.mark.edgeq takes its arguments by name: config, against, rule, stage"
            )
        asked |= marker.kwargs
    rule, stage = asked.pop("rule", "*"), asked.pop("stage", "*")
    return _findings(_gate(request, asked), rule, stage)


def _gate(request: pytest.FixtureRequest, asked: dict[str, Any]) -> GateResult:
    """The whole gate, from this session where it ran already."""
    folder = request.path.parent
    asked.setdefault("against", request.config.getoption("--edgeq-against"))
    if "files" in asked:
        files = asked["files"]
        asked["files"] = [folder / each for each in ([files] if isinstance(files, str) else files)]
        asked["baseline"] = folder / asked["baseline"]
    else:
        named = asked.get("config")
        asked["config"] = folder / named if named else _nearest(folder, request.config.rootpath)
    known = request.config.stash[_GATES]
    key = repr(sorted(asked.items(), key=lambda item: item[0]))
    if key not in known:
        import edgeq

        known[key] = edgeq.gate(**asked)
    return known[key]


def _nearest(folder: Path, root: Path) -> Path:
    """The file of rules in a folder or the nearest one above it, up to the root of the tests."""
    for each in (folder, *folder.parents):
        if (each / "edgeq-gate.toml").is_file() or each == root:
            return each / "edgeq-gate.toml"
    return root / "edgeq-gate.toml"


def _findings(result: GateResult, rule: str, stage: str) -> GateResult:
    """The findings of some rules on some stages, with the outcome that they alone come to."""
    from edgeq.deploy.gate.result import outcome_of

    if (rule, stage) == ("*", "*"):
        return result
    found = tuple(
        each
        for each in result.findings
        if fnmatchcase(each.stage, stage)
        and (fnmatchcase(each.rule, rule) or fnmatchcase(each.rule.partition(".")[0], rule))
    )
    if not found:
        judged = ", ".join(
            dict.fromkeys(f"{each.rule} of {each.stage}" for each in result.findings)
        )
        raise pytest.UsageError(
            f"no finding is about the rule {rule!r} and the stage {stage!r}; judged were: {judged}"
        )
    return replace(result, findings=found, outcome=outcome_of(found))
