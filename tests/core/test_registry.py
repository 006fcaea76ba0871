"""One table of names for each kind of plug-in, filled by entry points and by nothing else."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from edgeq import registry
from edgeq.errors import BrokenPlugin, EdgeqError, MissingDependency, UnknownName
from edgeq.exporter import EXPORTERS, Exporter
from edgeq.network.loading import LOADERS
from edgeq.registry import Registry
from edgeq.target import TARGETS, Target

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "edgeq.gadgets"


@pytest.fixture
def gadgets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[EntryPoint]:
    """The entry points of a made-up kind; modules for them can be put on the path."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(
        registry, "installed", lambda group: [entry for entry in found if entry.group == group]
    )
    monkeypatch.syspath_prepend(tmp_path)
    return found


def test_names_are_sorted_and_import_nothing(gadgets: list[EntryPoint]) -> None:
    gadgets += [
        EntryPoint("b", "not_there:x", GROUP),
        EntryPoint("a", "not_there:y", GROUP),
        EntryPoint("c", "x:y", "edgeq.others"),
    ]
    assert Registry[object]("gadget").names() == ["a", "b"]


def test_a_name_loads_what_it_stands_for(gadgets: list[EntryPoint]) -> None:
    gadgets.append(EntryPoint("pi", "math:pi", GROUP))
    assert Registry[float]("gadget").load("pi") == pytest.approx(3.14159, abs=1e-5)


def test_an_unknown_name_offers_the_nearest(gadgets: list[EntryPoint]) -> None:
    gadgets += [EntryPoint("hammer", "a:b", GROUP), EntryPoint("saw", "a:b", GROUP)]
    with pytest.raises(
        UnknownName,
        match=r"no gadget is called 'hamer'[\s\S]*did you mean 'hammer'\? Known: hammer, saw",
    ):
        Registry[object]("gadget").load("hamer")


def test_an_empty_registry_says_so(gadgets: list[EntryPoint]) -> None:
    with pytest.raises(UnknownName, match="Known: none"):
        Registry[object]("gadget").load("any")


def test_a_missing_package_is_named_with_its_extra(
    gadgets: list[EntryPoint], tmp_path: Path
) -> None:
    (tmp_path / "needs_more.py").write_text("import package_that_nobody_has.part\n")
    gadgets += [
        EntryPoint("plain", "needs_more:x", GROUP),
        EntryPoint("extra", "needs_more:x [edge]", GROUP),
    ]
    with pytest.raises(
        MissingDependency, match=r"needs the package 'package_that_nobody_has[\s\S]*pip install"
    ):
        Registry[object]("gadget").load("plain")
    with pytest.raises(MissingDependency, match=r"pip install 'edgeq\[edge\]'"):
        Registry[object]("gadget").load("extra")


def test_a_module_of_ours_that_is_gone_is_not_called_a_missing_package(
    gadgets: list[EntryPoint], tmp_path: Path
) -> None:
    (tmp_path / "ours_is_gone.py").write_text("import edgeq.not_written_yet\n")
    gadgets.append(EntryPoint("ours", "ours_is_gone:x", GROUP))
    with pytest.raises(ModuleNotFoundError, match="not_written_yet"):
        Registry[object]("gadget").load("ours")


@pytest.mark.parametrize(
    ("module", "value", "said"),
    [
        ("1 / 0", "own_gadget:gadget", "division by zero"),
        ("", "own_gadget:gadget", "no attribute 'gadget'"),
        ("import own_gadget.part", "own_gadget:gadget", "own_gadget.part"),
        ("", "no_gadget_there:gadget", "no_gadget_there"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_named(
    gadgets: list[EntryPoint], tmp_path: Path, module: str, value: str, said: str
) -> None:
    (tmp_path / "own_gadget.py").write_text(module)
    sys.modules.pop("own_gadget", None)
    gadgets.append(EntryPoint("odd", value, GROUP))
    with pytest.raises(BrokenPlugin, match="the gadget 'odd' cannot be imported") as caught:
        Registry[object]("gadget").load("odd")
    assert said in caught.value.what


def test_two_packages_may_not_share_a_name(gadgets: list[EntryPoint]) -> None:
    gadgets += [EntryPoint("a", "one:x", GROUP), EntryPoint("a", "two:x", GROUP)]
    with pytest.raises(EdgeqError, match="two gadgets are called 'a': one:x and two:x"):
        Registry[object]("gadget").names()


def test_the_same_entry_seen_twice_is_one(gadgets: list[EntryPoint]) -> None:
    """An editable install beside a wheel shows every entry point twice."""
    gadgets += [EntryPoint("a", "one:x", GROUP), EntryPoint("a", "one:x", GROUP)]
    assert Registry[object]("gadget").names() == ["a"]


def test_our_own_enter_by_the_same_door() -> None:
    assert {"torch", "torch-fp32", "ort-cpu", "ort-cpu-ref", "tflite", "tflite-ref"} <= set(
        TARGETS.names()
    )
    assert {"onnx", "tflite"} <= set(EXPORTERS.names())
    assert "checkpoint" in LOADERS.names()
    assert all(isinstance(EXPORTERS.load(name), Exporter) for name in ("onnx", "tflite"))
    assert all(isinstance(TARGETS.load(name), Target) for name in ("torch", "ort-cpu", "tflite"))


def test_listing_names_is_light() -> None:
    code = (
        "import sys; from edgeq.target import TARGETS; TARGETS.names(); "
        "sys.exit(bool({'torch', 'onnx', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
