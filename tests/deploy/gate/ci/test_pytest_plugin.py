"""The pytest plug-in runs a gate once, gives what is asked of it, and leaves other runs alone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import edgeq
from edgeq.deploy.gate.result import Finding, GateResult

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]
PLUGIN = "edgeq.deploy.gate.ci.pytest_plugin"
RESULT = GateResult(
    "failed",
    (
        Finding("accuracy", "a.onnx @ ort-cpu", "accuracy", "pass", "fine"),
        Finding("drift.max_lsb", "a.tflite @ tflite", "LSB", "fail", "a.tflite is off by 3 LSB"),
        Finding("size", "", "bytes", "not-run", "nothing was there"),
    ),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What gates were run."""
    gates: list[dict[str, object]] = []

    def gate(**arguments: object) -> GateResult:
        gates.append(arguments)
        return RESULT

    monkeypatch.setattr(edgeq, "gate", gate, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return gates


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:cacheprovider", *arguments)


def test_a_gate_runs_once_for_all_tests(
    pytester: pytest.Pytester, asked: list[dict[str, object]]
) -> None:
    pytester.path.joinpath("edgeq-gate.toml").touch()
    pytester.makepyfile(
        """
        import pytest

        def test_all(edgeq_gate):
            edgeq_gate.require_passed()

        @pytest.mark.edgeq(rule="accuracy")
        def test_accuracy(edgeq_gate):
            edgeq_gate.require_passed()

        @pytest.mark.edgeq(rule="drift", stage="*.tflite @ *")
        def test_drift(edgeq_gate):
            assert edgeq_gate.outcome == "failed"
            edgeq_gate.require_passed()

        @pytest.mark.edgeq(rule="size")
        def test_what_was_not_run_is_no_pass(edgeq_gate):
            assert edgeq_gate.outcome == "inconclusive"
            edgeq_gate.require_passed()
        """
    )
    done = run(pytester, "--strict-markers", "--edgeq-against", "origin/main")
    done.assert_outcomes(passed=1, failed=3)
    done.stdout.fnmatch_lines(["*GateFailed: a.tflite is off by 3 LSB*"])
    assert asked == [{"against": "origin/main", "config": pytester.path / "edgeq-gate.toml"}]


def test_the_nearest_file_of_rules_is_taken(
    pytester: pytest.Pytester, asked: list[dict[str, object]]
) -> None:
    test = "def test(edgeq_gate): pass"
    for folder in ("one", "two/deep"):
        pytester.mkpydir(folder.partition("/")[0])
        pytester.path.joinpath(folder).mkdir(exist_ok=True)
        pytester.path.joinpath(folder, "test_it.py").write_text(test)
    pytester.path.joinpath("two", "edgeq-gate.toml").touch()
    done = run(pytester, "--import-mode=importlib")
    done.assert_outcomes(passed=2)
    names = [pytester.path / "edgeq-gate.toml", pytester.path / "two" / "edgeq-gate.toml"]
    assert [each["config"] for each in asked] == names


def test_a_marker_can_say_it_all(pytester: pytest.Pytester, asked: list[dict[str, object]]) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.edgeq(files=["net.onnx"], data="digits", baseline="b.json", max_drop=1)
        class TestNet:
            @pytest.mark.edgeq(rule="acc*")
            def test_accuracy(self, edgeq_gate):
                edgeq_gate.require_passed()
        """
    )
    run(pytester).assert_outcomes(passed=1)
    assert asked == [
        {
            "files": [pytester.path / "net.onnx"],
            "data": "digits",
            "baseline": pytester.path / "b.json",
            "max_drop": 1,
            "against": "",
        }
    ]


def test_what_was_not_judged_is_an_error_that_says_so(
    pytester: pytest.Pytester, asked: list[dict[str, object]]
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.edgeq(rule="speed")
        def test_speed(edgeq_gate): pass

        @pytest.mark.edgeq("edgeq-gate.toml")
        def test_by_place(edgeq_gate): pass
        """
    )
    done = run(pytester)
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(["*no finding is about the rule 'speed'*", "*by name*"])


def test_a_run_without_a_gate_imports_nothing_of_ours(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "import sys\ndef test(pytestconfig):\n"
        "    heavy = {'numpy', 'torch', 'onnx', 'typer', 'rich', 'edgeq.deploy.cli'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(test)],
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
