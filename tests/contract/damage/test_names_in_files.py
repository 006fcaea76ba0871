"""Names in files stay names: in every form that a command writes, they change no more than text.

The same network is read under plain names and under hostile ones. What comes out may differ in what
it says, and in nothing else: not in tags, rows, keys, files, or in what a terminal or a CI service
obeys.
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest
from markdown_it import MarkdownIt  # comes with rich
from tests.contract.damage.test_corrupted import small_model

from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.profiling.files import as_csv, as_trace
from edgeq.deploy.gate.ci.annotations import github, gitlab
from edgeq.deploy.gate.ci.junit import junit
from edgeq.deploy.gate.ci.markdown import markdown
from edgeq.deploy.gate.ci.sarif import sarif
from edgeq.deploy.gate.result import Delta, Finding, GateResult, outcome_of
from edgeq.results import Profile
from edgeq.timing import Latency
from edgeq.timing.details import OperatorTime
from edgeq.timing.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ACTING = frozenset("\x1b\x07\x9b\x00\u202e\u2066\u200b\u2028\u061c\ufeff\U000e0041")
HOSTILE = {
    "terminal": "\x1b]0;FAKE: passed\x07\x1b[32m\x9b31m",
    "unseen": "\u202etxet\u200b\u2066\u2028\u061c\ufeff\U000e0041",
    "lines": "a\nedgeq: passed\n\n# b\n| c | d |\n|---|---|\n```\n",
    "services": "::error::FAKE\n  ::stop-commands::x\n##[error]y ##vso[z ##teamcity[w",
    "markup": "</script></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'><b>&lt;",
    "table": "a|b||c\\|d`e`*f*_g_[h](javascript:i)![j](k)~l~<!-- m",
    "spreadsheet": "=cmd|' /C calc'!A0,\"b\";c\td",
    "path": "../../../escaped",
    "absolute": "/escaped/by/edgeq",
    "shell": "$(touch escaped)`touch escaped`;touch escaped&&'\"\\",
    "format": "%s%n%d{0}{x.__class__}${y}",
}
COMMANDS = (
    ("lint", "MODEL", "--sarif", "lint.sarif", "--html", "lint.html"),
    ("lint", "MODEL", "--html", "lint.md"),
    ("lint", "MODEL", "--html", "lint.csv"),
    ("lint", "MODEL", "--json"),
    ("audit", "MODEL", "--target", "ort-cpu", "--html", "audit.html"),
    ("diff", "base.onnx", "MODEL", "--html", "diff.html"),
    ("diff", "base.onnx", "MODEL", "--html", "diff.md"),
    ("bounds", "MODEL", "--html", "bounds.html"),
    ("export", "MODEL", "--to", "onnx", "--to", "tflite", "--to", "vectors", "-o", "out"),
)


def renamed(prefix: str) -> onnx.ModelProto:
    """A small network with a scale of zero, all of whose names begin so."""
    model = small_model()
    graph = model.graph
    for node in graph.node:
        node.name = prefix + node.name
        for names in (node.input, node.output):
            names[:] = [prefix + name if name else name for name in names]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = prefix + value.name
    return model


def with_zero_scale(model: onnx.ModelProto) -> onnx.ModelProto:
    scales = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    scales[0].raw_data = np.zeros_like(onnx.numpy_helper.to_array(scales[0])).tobytes()
    return model


def made(folder: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes of all commands, in a folder that then holds what they write."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    onnx.save(small_model(), "base.onnx")
    onnx.save(with_zero_scale(renamed(prefix)), "broken.onnx")
    onnx.save(renamed(prefix), "model.onnx")
    codes = []
    for words in COMMANDS:
        name = "broken.onnx" if words[0] == "lint" else "model.onnx"
        codes.append(run([name if word == "MODEL" else word for word in words]))
    return codes


class Tags(HTMLParser):
    """Every tag of a page with the names of its attributes; every text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[tuple[str, ...]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":  # where a long name may go on in the next line
            self.tags.add((tag, *sorted(name for name, _ in attrs)))


def keys(document: Any) -> object:
    """The shape of a JSON document."""
    if isinstance(document, dict):
        return {name: keys(value) for name, value in sorted(document.items())}
    return [keys(each) for each in document] if isinstance(document, list) else ""


def of_page(text: str) -> object:
    return Tags(text).tags


def of_markdown(text: str) -> object:
    return of_page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def of_table(text: str) -> object:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert not any(cell.startswith(("=", "+", "@", "\t")) for row in rows for cell in row)
    return [len(row) for row in rows]


def of_xml(text: str) -> object:
    root = ET.fromstring(text)  # noqa: S314  of our own making
    return [(each.tag, sorted(each.attrib)) for each in root.iter()]


def of_json(text: str) -> object:
    return keys(json.loads(text))


SHAPES: dict[str, Callable[[str], object]] = {
    ".html": of_page,
    ".md": of_markdown,
    ".csv": of_table,
    ".sarif": of_json,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "made"
    with pytest.MonkeyPatch.context() as patch:
        made(folder, "n", patch)
    return folder


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_name_changes_nothing_but_words(
    kind: str,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "made"
    codes = made(folder, HOSTILE[kind], monkeypatch)
    said = capsys.readouterr()
    assert 70 not in codes
    check_said(said.out + said.err)
    known = {path.relative_to(plain).as_posix() for path in plain.rglob("*")}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert there == known
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    for path in sorted(folder.iterdir()):
        if path.suffix not in SHAPES:
            continue
        text, usual = path.read_text("utf-8"), (plain / path.name).read_text("utf-8")
        shape, wanted = SHAPES[path.suffix](text), SHAPES[path.suffix](usual)
        if isinstance(shape, set) and isinstance(wanted, set):
            assert shape <= wanted, path.name
        else:
            assert shape == wanted, path.name
        assert not ACTING & set(text), path.name


def check_said(text: str) -> None:
    """Nothing acts on a terminal or a CI service, and no line is a name's."""
    assert not ACTING & set(text)
    assert not re.search(r"(?m)^\s*::|##(\[|vso\[|teamcity\[)", text)
    assert not re.search(r"(?m)^ ?edgeq: passed", text)


FORMS: dict[str, Callable[[str], object]] = {
    "annotations": lambda name: len("\n".join(github(gated(name))).splitlines()),
    "code quality": lambda name: keys(gitlab(gated(name))),
    "junit": lambda name: of_xml(junit(gated(name)).decode()),
    "sarif": lambda name: keys(json.loads(json.dumps(sarif(gated(name))))),
    "summary": lambda name: of_markdown(markdown(gated(name))),
    "trace": lambda name: of_json(as_trace([timed(name)])),
    "table": lambda name: of_table(as_csv([timed(name)], ())),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_name_changes_no_form_of_a_gate_or_a_profile(form: str, kind: str) -> None:
    assert FORMS[form](HOSTILE[kind]) == FORMS[form]("n")


def gated(name: str) -> GateResult:
    found = Finding("accuracy", name, "accuracy", "fail", f"{name} lost 3 points")
    found = replace(found, cause=f"{name} has another bias", next_command=f"edgeq why {name}")
    deltas = (Delta(name, name, 0.9, 0.85),)
    return GateResult(
        outcome_of([found]), (found,), deltas=deltas, versions={}, config=name, remarks=(name,)
    )


def timed(name: str) -> Profile:
    trust = Trust(clock=False, processor_time=True, ratios=True, why=name, advice=name)
    latency = Latency(40, 2.0, 2.1, 2.2, 2.3, 2.0, 1.9, 0.1, 0.0, trust, (2.0,) * 9, (1.5,) * 9)
    operator = OperatorTime(name, name, 1.5, name)
    return Profile(name, name, 1, 1, "measured", latency, 100, operators=(operator,))
