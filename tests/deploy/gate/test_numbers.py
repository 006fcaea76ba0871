"""What is in a file in short: no number can change unseen, and names do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper
from tests.support.faults.networks import small

import edgeq
from edgeq.deploy.gate.numbers import Change, changes, numbers_of

if TYPE_CHECKING:
    from pathlib import Path


def numbers(model: onnx.ModelProto, folder: Path) -> dict[str, str]:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return numbers_of(path)


def test_every_stored_array_is_held(tmp_path: Path) -> None:
    clean = small()
    before = numbers(clean, tmp_path)
    assert changes(before, dict(before)) == []
    for place, stored in enumerate(clean.graph.initializer):
        model = small()
        values = numpy_helper.to_array(stored).copy()
        values.reshape(-1)[-1:] += values.dtype.type(1)
        model.graph.initializer[place].CopyFrom(numpy_helper.from_array(values, stored.name))
        assert changes(before, numbers(model, tmp_path)), stored.name


def test_nodes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    model = small()
    for node in model.graph.node:
        node.name = "same"
    before = numbers(model, tmp_path)
    assert {f"same{number}|weights" for number in ("", " (2)", " (3)", " (4)")} <= {*before}


def test_a_number_in_no_known_part_is_told(tmp_path: Path) -> None:
    models = [small(), small()]
    for model, value in zip(models, (1, 2), strict=True):
        made = numpy_helper.from_array(np.array([value], np.int64), "unused")
        model.graph.initializer.append(made)
    before, now = (numbers(model, tmp_path) for model in models)
    (found,) = changes(before, now)
    assert found.told.startswith("stored numbers of 'the file'")


def test_a_tflite_file_and_the_words_of_a_change(tmp_path: Path) -> None:
    source, path = tmp_path / "net.onnx", tmp_path / "net.tflite"
    source.write_bytes(small().SerializeToString())
    edgeq.export(source, path=path)
    found = numbers_of(path)
    assert sum(key.endswith("|weights") for key in found) == 4
    gone = changes(found, {})
    assert gone[0].told.startswith("weights of ")
    assert gone[0].told.endswith("is gone")


def changed(then: str, now: str) -> str:
    return Change("c", "operator", then, now).told


def test_of_an_operator_only_the_settings_that_differ_are_told() -> None:
    then = "Conv auto_pad NOTSET, dilations (1, 1), group 36, pads (1, 1, 1, 1) #a"
    now = "Conv auto_pad NOTSET, dilations (1, 1), group 36, pads (0, 0, 2, 2) #b"
    assert changed(then, now) == "operator 'c': pads: (1, 1, 1, 1) became (0, 0, 2, 2)"
    assert changed("Conv group 1 #a", "Gemm group 1 #b").endswith(
        "Conv group 1 became Gemm group 1"
    )
    assert changed("Conv a 1 #a", "Conv b 1 #b").endswith("a: 1 became absent, b: absent became 1")


def test_a_baseline_that_cuts_settings_off_is_read() -> None:
    long = "Conv auto_pad NOTSET, dilations (1, 1), group 36, strides (1, 1), kernel_shape (3, 3), "
    cut = long[:85]
    kept = {"c|operator": f"{cut} #a"}
    assert changes(kept, {"c|operator": f"{long}pads (1, 1, 1, 1) #a"}) == []
    (found,) = changes(kept, {"c|operator": f"{long}pads (0, 0, 2, 2) #b"})
    assert found.told == "operator 'c': settings of Conv that the baseline cuts off are others"
    (found,) = changes(kept, {"c|operator": f"{long.replace('36', '12')}pads (0, 0, 2, 2) #b"})
    assert found.told == "operator 'c': group: 36 became 12"


def test_the_settings_of_a_long_operator_are_kept(tmp_path: Path) -> None:
    model = small()
    before = numbers(model, tmp_path)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    pads = next(each for each in conv.attribute if each.name == "pads")
    pads.ints[:] = [0, 0, 2, 2]
    (found,) = changes(before, numbers(model, tmp_path))
    assert found.told == f"operator {conv.name!r}: pads: (1, 1, 1, 1) became (0, 0, 2, 2)"
