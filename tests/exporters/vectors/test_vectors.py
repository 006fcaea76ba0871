"""Golden vectors: the C program gives the integers of TFLite's reference kernels."""

from __future__ import annotations

import io
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.support.models.qdq_models import S8, U4, U8, Graph, Grid

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.torch.lower import lower
from edgeq.exporters.vectors import exporter
from edgeq.exporters.vectors.headers import printable
from edgeq.files import write_folder
from edgeq.formats.tflite_file import operators_of
from edgeq.models import zoo
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir

needs_compiler = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no gcc here to compile the C program with"
)
STRICT = ["gcc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror"]


def replay(
    folder: Path, files: Mapping[str, bytes], *flags: str
) -> subprocess.CompletedProcess[str]:
    """Write the folder, compile its program and run it."""
    write_folder(folder, files, overwrite=True)
    subprocess.run(
        [*STRICT, *flags, "-o", "replay", "replay.c"], cwd=folder, check=True, timeout=120
    )
    return subprocess.run(
        [str(folder / "replay")], capture_output=True, text=True, check=False, timeout=120
    )


def network(name: str, scheme: Scheme) -> ir.Model:
    torch.manual_seed(0)
    model = quantize(zoo.build(name, classes=10), scheme).train()
    for _ in range(3):
        model(torch.randn(8, 3, 32, 32))
    return lower(model.eval(), (3, 32, 32))


def every_kind() -> ir.Model:
    """A graph with every operator that the C program knows, in odd sizes."""
    graph = Graph(np.random.default_rng(3))
    image = graph.input("image", [1, 4, 9, 7], S8)
    dilated = graph.weighted(
        "Conv", image, "dilated", (6, 4, 3, 3), U8, relu=True, dilations=[2, 2], pads=[2, 2, 2, 2]
    )
    strided = graph.weighted(
        "Conv",
        dilated,
        "strided",
        (8, 6, 3, 2),
        S8,
        per_channel=True,
        strides=[2, 1],
        pads=[1, 0, 1, 1],
    )
    deep = graph.weighted(
        "Conv",
        strided,
        "depthwise",
        (16, 1, 3, 3),
        U8,
        per_channel=True,
        group=8,
        pads=[1, 1, 1, 1],
        relu=True,
    )
    grouped = graph.weighted("Conv", deep, "grouped", (8, 4, 1, 1), S8, group=4)
    added = graph.op("Add", [grouped, strided], "added", U4, relu=True)
    less = graph.op("Sub", [added, strided], "less", S8)
    times = graph.op("Mul", [less, added], "times", Grid(0.05, 100))
    most = graph.op(
        "MaxPool", [times], "most", Grid(0.05, 100), kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )
    mean = graph.op(
        "AveragePool",
        [most],
        "mean",
        Grid(0.05, 100),
        kernel_shape=[2, 3],
        strides=[1, 2],
        pads=[0, 1, 1, 1],
    )
    starts, ends, axes, steps = (
        graph.constant(f"slice{i}", np.array(v))
        for i, v in enumerate(([3, 0], [-99, 5], [2, 1], [-1, 2]))
    )
    back = graph.op("Slice", [mean, starts, ends, axes, steps], "back", Grid(0.05, 100))
    starts, ends, axes = (
        graph.constant(f"cut{i}", np.array(v)) for i, v in enumerate(([1, 1], [4, 5], [1, 2]))
    )
    cut = graph.op("Slice", [mean, starts, ends, axes], "cut", Grid(0.05, 100))
    wide = graph.op("Concat", [cut, back], "wide", Grid(0.05, 100), axis=1)
    edge = graph.op(
        "Pad",
        [wide, graph.constant("pads", np.array([0, 0, 1, 0, 0, 0, 0, 2]))],
        "edge",
        Grid(0.05, 100),
    )
    graph.node("Identity", [edge], "moved")
    coarse = graph.quantize("moved", Grid(0.08, 90))
    turned = graph.op("Transpose", [coarse], "turned", Grid(0.08, 90), perm=[0, 3, 1, 2])
    flat = graph.op("Flatten", [turned], "flat", Grid(0.08, 90))
    rows = graph.weighted("Gemm", flat, "rows", (12, 180), S8, transB=1, per_channel=True)
    graph.weighted("MatMul", rows, "logits", (12, 5), S8, channel_axis=1)
    return graph.output()


@cache
def of_every_kind() -> Mapping[str, bytes]:
    """The files of that graph."""
    return exporter.export(every_kind(), ExportOptions()).files


@needs_compiler
@pytest.mark.parametrize(
    ("name", "scheme"),
    [("resnet8", Scheme(4, 4)), ("stable-resnet8", Scheme(8, 8))],
    ids=["resnet8", "stable-resnet8"],
)
def test_the_c_program_replays_every_layer_bit_for_bit(
    name: str, scheme: Scheme, tmp_path: Path
) -> None:
    exported = exporter.export(network(name, scheme), ExportOptions())
    answer = replay(tmp_path / "vectors", exported.files)
    assert answer.returncode == 0, answer.stdout
    lines = answer.stdout.splitlines()
    assert len(lines) == len(operators_of(exported.files["model.tflite"])) >= 15
    assert all(line.startswith("same") for line in lines)
    assert exported.parity.different == ()
    assert exported.parity.weights > 10_000


@needs_compiler
def test_every_kind_of_layer_is_replayed_in_odd_sizes(tmp_path: Path) -> None:
    exported = exporter.export(every_kind(), ExportOptions())
    answer = replay(tmp_path / "vectors", exported.files)
    assert answer.returncode == 0, answer.stdout
    ran = [operator.name for operator in operators_of(exported.files["model.tflite"])]
    assert len(answer.stdout.splitlines()) == len(ran)
    wanted = {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "ADD",
        "SUB",
        "MUL",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
    }
    wanted |= {"PAD", "STRIDED_SLICE", "SLICE", "RESHAPE", "TRANSPOSE", "QUANTIZE"}
    assert set(ran) >= wanted


@needs_compiler
@pytest.mark.parametrize("what", ["weights", "bias", "multiplier", "output", "input0"])
def test_a_changed_integer_is_found(what: str, tmp_path: Path) -> None:
    files = dict(of_every_kind())
    text = files["layer_000.h"].decode()
    start = text.index("\n", text.index(f"layer_000_{what}[")) + 1
    end = text.index("\n};", start)
    numbers = [int(number) for number in text[start:end].replace("\n", " ").split(",")]
    changed = [number // 2 if what == "multiplier" else 127 - number % 16 for number in numbers]
    assert changed != numbers
    files["layer_000.h"] = (text[:start] + ", ".join(map(str, changed)) + text[end:]).encode()
    answer = replay(tmp_path / "vectors", files, '-DEDGEQ_LAYERS="layer_000.h"')
    assert answer.returncode == 1
    assert answer.stdout.startswith("DIFFER")
    assert answer.stdout.count("DIFFER") == 1


@needs_compiler
def test_one_layer_can_be_compiled_alone(tmp_path: Path) -> None:
    files = of_every_kind()
    answer = replay(tmp_path / "vectors", files, '-DEDGEQ_LAYERS="layer_002.h"')
    assert answer.returncode == 0
    assert len(answer.stdout.splitlines()) == 1


def test_the_archive_holds_what_the_headers_hold_and_layers_follow_each_other() -> None:
    files = of_every_kind()
    with np.load(io.BytesIO(files["vectors.npz"]), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    operators = operators_of(files["model.tflite"])
    assert sum(name.endswith("/operator") for name in arrays) == len(operators)
    assert arrays["000/operator"] == operators[0].name
    by_name = {
        str(arrays[name]): arrays[f"{name[:4]}output"] for name in arrays if name.endswith("/name")
    }
    for i, operator in enumerate(operators):
        first = operator.inputs[0]
        assert first is not None
        if first.name in by_name:
            assert np.array_equal(arrays[f"{i:03d}/input0"], by_name[first.name])
    conv = next(i for i, operator in enumerate(operators) if operator.name == "CONV_2D")
    assert {
        arrays[f"{conv:03d}/{what}"].dtype.name for what in ("bias", "multiplier", "shift")
    } == {"int32"}
    assert arrays[f"{conv:03d}/weights"].dtype == np.int8
    numbers = (
        files[f"layer_{conv:03d}.h"]
        .decode()
        .split(f"layer_{conv:03d}_bias[")[1]
        .split("*/")[1]
        .split("}")[0]
    )
    assert [int(number) for number in numbers.split(",")] == arrays[f"{conv:03d}/bias"].tolist()


def test_the_same_model_gives_the_same_files() -> None:
    first, second = (exporter.export(every_kind(), ExportOptions()).files for _ in range(2))
    assert first == second


def test_the_boundary_is_left_in_integers_whatever_was_asked_for() -> None:
    files = exporter.export(every_kind(), ExportOptions(io_type="float32")).files
    assert {"QUANTIZE", "DEQUANTIZE"} & {o.name for o in operators_of(files["model.tflite"])} <= {
        "QUANTIZE"
    }
    assert b"float" not in files["layer_000.h"]


def test_a_float_model_has_no_integers_to_record() -> None:
    with pytest.raises(ArtefactError, match="in float"):
        exporter.export(
            lower(zoo.build("resnet8", classes=10).eval(), (3, 32, 32)), ExportOptions()
        )


def test_names_from_a_model_cannot_leave_comments_strings_or_table_cells() -> None:
    assert printable('a*/ "b" \\n|`c`\n') == "a_/__b_ _n__c__"
    assert printable("stem_relu/3:0~x") == "stem_relu/3:0~x"
