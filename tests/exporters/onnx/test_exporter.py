"""ONNX files: written with a proof that can fail, and read without trusting them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models import onnx_models

from edgeq.errors import ArtefactError
from edgeq.exporter import Exporter, ExportOptions
from edgeq.exporters import onnx as onnx_exporter
from edgeq.exporters.onnx import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import parse, serialize
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import fx

    from edgeq.formats.dialect import ActivationDtype

    Make = Callable[..., fx.GraphModule]

SHAPE = (3, 16, 16)
INT8, UINT8 = ExportOptions("int8"), ExportOptions("uint8")


def test_it_is_an_exporter() -> None:
    assert isinstance(exporter, Exporter)
    assert exporter.suffix == ".onnx"


class TestParity:
    @pytest.mark.parametrize("activation_dtype", ["uint8", "int8"])
    @pytest.mark.parametrize(
        "scheme",
        [Scheme(4, 4), Scheme(4, 8), Scheme(4, 4, placement="paper")],
        ids=lambda s: f"{s.name} {s.placement}",
    )
    def test_every_number_is_compared_and_none_differs(
        self, network: Make, scheme: Scheme, activation_dtype: ActivationDtype
    ) -> None:
        model = lower(network("stable-resnet8", scheme), SHAPE)
        report = exporter.export(model, ExportOptions(activation_dtype)).parity
        weights = [
            value.const_value
            for name, value in model.graph.initializers.items()
            if name.endswith(".weight_quantized")
        ]
        assert report.different == ()
        assert report.weights == sum(tensor.size for tensor in weights if tensor is not None)
        assert min(report.biases, report.scales, report.zero_points) > 50

    @pytest.mark.parametrize("name", ["qdq", "unnamed"])
    @pytest.mark.parametrize("activation_dtype", ["uint8", "int8"])
    def test_a_file_of_another_tool(self, name: str, activation_dtype: ActivationDtype) -> None:
        """Nodes need no names in ONNX."""
        proto = onnx_models.qdq_model(bits=4)
        if name == "unnamed":
            for node in proto.graph.node:
                node.name = ""
        report = exporter.export(ir.from_proto(proto), ExportOptions(activation_dtype)).parity
        assert report.different == ()
        assert report.compared > 800

    def test_real_files(self, data_dir: Path) -> None:
        model = read_as_qdq(data_dir / "models" / "resnet8-qdq.onnx")
        for options in (INT8, UINT8):
            report = exporter.export(model, options).parity
            assert (report.different, report.weights > 70_000) == ((), True)

    @pytest.mark.parametrize("activation_dtype", ["uint8", "int8"])
    @pytest.mark.parametrize(
        ("ending", "what"),
        [
            ("stages.1.0.conv.weight_quantized", "integers: 1 of"),
            ("stages.1.0.conv.bias_quantized", "integers: 1 of"),
            ("stages.1.0.conv.weight_scale", "scale: "),
            ("stages.1.0.conv.weight_zero_point", "zero point: 1 of"),
            ("stem_relu_scale", "scale: "),
            ("stem_relu_zero_point", "zero point"),
        ],
    )
    def test_one_number_changed_on_the_way_is_found(
        self,
        network: Make,
        monkeypatch: pytest.MonkeyPatch,
        activation_dtype: ActivationDtype,
        ending: str,
        what: str,
    ) -> None:
        """By the smallest that its type can change."""

        def spoil(content: bytes, _: str) -> ir.Model:
            model = parse(content, "")
            names = [name for name in model.graph.initializers if name.startswith(ending)]
            assert names
            for name in names:
                value = model.graph.initializers[name]
                assert value.const_value is not None
                array = value.const_value.numpy().copy()
                array.flat[0] = (
                    np.nextafter(array.flat[0], np.float32(9))
                    if array.dtype == np.float32
                    else array.flat[0] ^ 1
                )
                value.const_value = ir.tensor(array, name=name)
            return model

        monkeypatch.setattr(onnx_exporter, "parse", spoil)
        report = exporter.export(
            lower(network("stable-resnet8"), SHAPE), ExportOptions(activation_dtype)
        ).parity
        assert report.different
        assert all(what in line for line in report.different)

    def test_a_quantiser_lost_on_the_way_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        other = ir.from_proto(onnx_models.float_model())
        monkeypatch.setattr(onnx_exporter, "parse", lambda *_: other)
        report = exporter.export(ir.from_proto(onnx_models.qdq_model()), UINT8).parity
        assert len(report.different) == 9
        assert "second_dequantized: is not in the file" in report.different

    def test_a_zero_point_that_is_computed_is_named(self) -> None:
        proto = onnx_models.qdq_model()
        node = next(node for node in proto.graph.node if node.op_type == "DequantizeLinear")
        proto.graph.node.insert(0, helper.make_node("Identity", [node.input[2]], ["computed"]))
        node.input[2] = "computed"
        with pytest.raises(ArtefactError, match="zero point"):
            exporter.export(ir.from_proto(proto), UINT8)


class TestReading:
    def test_what_is_written_is_read(self, network: Make, tmp_path: Path) -> None:
        model = lower(network("resnet8"), SHAPE, metadata={"data": "digits"})
        (tmp_path / "a.onnx").write_bytes(serialize(model))
        again = read_as_qdq(tmp_path / "a.onnx")
        assert serialize(again) == serialize(model)
        assert again.metadata_props["data"] == "digits"

    @pytest.mark.parametrize("part", [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
    def test_truncated(self, tmp_path: Path, part: float) -> None:
        path = onnx_models.save(onnx_models.qdq_model(), tmp_path / "a.onnx")
        content = path.read_bytes()
        path.write_bytes(content[: max(1, int(part * len(content)))])
        with pytest.raises(ArtefactError, match="hint: "):
            read_as_qdq(path)

    def test_missing_empty_and_of_another_kind(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="there is no"):
            read_as_qdq(tmp_path / "a.onnx")
        (tmp_path / "a.onnx").touch()
        with pytest.raises(ArtefactError, match="zero bytes"):
            read_as_qdq(tmp_path / "a.onnx")
        (tmp_path / "a.onnx").write_bytes(b"PK\x03\x04 a zip")
        with pytest.raises(ArtefactError, match="first bytes"):
            read_as_qdq(tmp_path / "a.onnx")
        (tmp_path / "a.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 32)
        with pytest.raises(ArtefactError, match="not an ONNX file"):
            read_as_qdq(tmp_path / "a.tflite")

    @pytest.mark.parametrize("content", [b"\x08" + b"\xff" * 50, b"\x08\x0a" + os.urandom(300)])
    def test_noise(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(ArtefactError, match="hint: "):
            read_as_qdq(tmp_path / "a.onnx")

    def test_a_tensor_whose_size_is_not_its_shapes(self, tmp_path: Path) -> None:
        proto = onnx_models.qdq_model()
        proto.graph.initializer[0].dims[:] = [2**40]
        (tmp_path / "a.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(ArtefactError, match="is no valid ONNX model"):
            read_as_qdq(tmp_path / "a.onnx")


NUMBERS = np.arange(16, dtype=np.float32)


class TestExternalData:
    def saved(self, folder: Path, location: str, *, node: bool = False, **entries: Any) -> Path:
        """A model with its one tensor in another file, as initializer or in a Constant node."""
        tensor = TensorProto(
            name="w", data_type=TensorProto.FLOAT, dims=[16], data_location=TensorProto.EXTERNAL
        )
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))
        nodes = [helper.make_node("Add", ["x", "w"], ["y"], name="add")]
        if node:
            nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor, name="constant"))
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in "xy"]
        graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [] if node else [tensor])
        (folder / "a.onnx").write_bytes(helper.make_model(graph, ir_version=10).SerializeToString())
        return folder / "a.onnx"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "secret").write_bytes(NUMBERS.tobytes())
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "beside").write_bytes(NUMBERS.tobytes())
        return tmp_path / "model"

    @pytest.mark.parametrize("node", [False, True])
    def test_beside_the_model_is_read_into_memory(
        self, folder: Path, node: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir("/")
        model = read_as_qdq(self.saved(folder, "beside", node=node))
        (folder / "beside").unlink()
        content = exporter.export(model, INT8).content
        proto = onnx.load_model_from_string(content)
        tensor = proto.graph.node[0].attribute[0].t if node else proto.graph.initializer[0]
        assert np.array_equal(numpy_helper.to_array(tensor), NUMBERS)

    @pytest.mark.parametrize("node", [False, True])
    @pytest.mark.parametrize(
        "location", ["../secret", "absolute", "link", "nothing", "../model/../secret", "."]
    )
    def test_elsewhere_is_refused(self, folder: Path, location: str, node: bool) -> None:
        (folder / "link").symlink_to(folder.parent / "secret")
        where = str(folder.parent / "secret") if location == "absolute" else location
        with pytest.raises(ArtefactError, match="hint: "):
            read_as_qdq(self.saved(folder, where, node=node))

    @pytest.mark.parametrize(
        "entries",
        [
            {"offset": 32},
            {"offset": -4},
            {"offset": "x"},
            {"length": 2**40},
            {"offset": 2**62},
            {"length": 8},
        ],
    )
    def test_numbers_that_do_not_fit_the_file_are_refused(
        self, folder: Path, entries: dict[str, Any]
    ) -> None:
        with pytest.raises(ArtefactError, match="hint: "):
            read_as_qdq(self.saved(folder, "beside", **entries))


def test_a_model_that_no_file_could_hold_is_refused_before_it_is_built() -> None:
    # which takes no memory
    weight = ir.Tensor(np.broadcast_to(np.float32(0), (2**20, 2**10)), name="w")
    graph = ir.Graph(
        [],
        [],
        nodes=[],
        initializers=[ir.Value(name="w", const_value=weight)],
        opset_imports={"": 21},
        name="graph",
    )
    with pytest.raises(
        ArtefactError, match="take 4294967296 bytes, more than the 2147483648 of one ONNX file"
    ):
        serialize(ir.Model(graph, ir_version=10))
