"""Ethos-U by Vela.

Our networks whole on the NPU, what is left on the CPU named, the estimate in the place of a
measurement.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.exporters.tflite.test_fallback import unquantized_sum
from tests.support.models import onnx_models, tflite_models, zoo_models

from edgeq.deploy.evaluation.audit import audit
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.profile import profile
from edgeq.errors import TargetError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.target import TARGETS
from edgeq.targets import tflite
from edgeq.targets.ethos_u import u55, u65, u85
from edgeq.targets.workers.launchers import Interpreter

if TYPE_CHECKING:
    from edgeq.targets.ethos_u import EthosUTarget

if find_spec("ethosu") is None:
    pytest.skip("Vela is not installed", allow_module_level=True)

NPUS = pytest.mark.parametrize("target", [u55, u65, u85], ids=["u55", "u65", "u85"])


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return path


def with_a_fallback() -> bytes:
    """A sum in float between two convolutions in integers."""
    return exporter.export(unquantized_sum().output(), ExportOptions(allow_float=True)).content


@NPUS
@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("resnet8", (8, 8)),
        ("stable-resnet8", (4, 4)),
        *(
            pytest.param(name, bits, marks=pytest.mark.slow)
            for name in ("resnet20", "stable-resnet20", "resnet56", "stable-resnet56")
            for bits in ((8, 8), (4, 8), (4, 4))
        ),
    ],
)
def test_our_networks_are_whole_on_the_npu(
    tmp_path: Path, name: str, bits: tuple[int, int], target: EthosUTarget
) -> None:
    plan = target.plan(saved(tmp_path, zoo_models.tflite(name, *bits)))
    assert {(op.place, op.arithmetic, op.why) for op in plan.ops} == {("delegate", "integer", "")}
    assert sum(op.macs or 0 for op in plan.ops) > 10**6


@NPUS
def test_the_answers_are_the_reference_kernels(tmp_path: Path, target: EthosUTarget) -> None:
    path, images = saved(tmp_path, tflite_models.int8_model()), onnx_models.images(4)
    with (
        target.open(path, intermediates=True) as npu,
        tflite.reference.open(path, intermediates=True) as reference,
    ):
        assert np.array_equal(npu.run(images), reference.run(images))
        assert list(npu.tensors(images)) == list(reference.tensors(images))


@NPUS
def test_facts_and_estimate_are_of_one_compilation(tmp_path: Path, target: EthosUTarget) -> None:
    with target.open(saved(tmp_path, zoo_models.tflite("resnet8"))) as session:
        facts, estimated_ms = session.facts, session.estimated_ms
    assert facts["on_npu"] == "17 of 17 operators"
    assert facts["on_cpu"] == "none"
    assert float(facts["cycles"]) / (1000 * float(facts["clock_mhz"])) == pytest.approx(
        estimated_ms, rel=1e-12
    )
    assert 1000 / float(facts["inferences_per_second"]) == pytest.approx(estimated_ms, rel=1e-3)
    memories = {name: int(size) for name, size in facts.items() if name.endswith("_bytes")}
    assert 32 * 32 * 16 < memories["sram_bytes"] < 10**6
    constants = memories.get("off_chip_flash_bytes", memories.get("dram_bytes", 0))
    assert 70_000 < constants < 200_000  # the weights, which Vela packs


def test_more_macs_a_cycle_take_fewer_cycles(tmp_path: Path) -> None:
    path = saved(tmp_path, zoo_models.tflite("resnet8"))
    cycles = []
    for size in u55.sizes:
        with TARGETS.load(f"ethos-u55:{size}").open(path) as session:
            cycles.append(int(session.facts["cycles"]))
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[0] > 2 * cycles[-1]


def test_a_system_and_a_memory_mode_can_be_named(tmp_path: Path) -> None:
    target = TARGETS.load("ethos-u55:256,Ethos_U55_Deep_Embedded,Sram_Only")
    with target.open(saved(tmp_path, tflite_models.int8_model())) as session:
        assert session.facts["accelerator"] == "Ethos_U55_256, Ethos_U55_Deep_Embedded, Sram_Only"
        assert session.facts["clock_mhz"] == "200"


def test_a_configuration_file_of_the_users(tmp_path: Path) -> None:
    config = tmp_path / "soc.ini"
    text = (
        Path(str(distribution("ethos-u-vela").locate_file("ethosu")))
        / "config_files"
        / "Arm"
        / "vela.ini"
    ).read_text("utf-8")
    config.write_text(
        text.replace("Ethos_U55_High_End_Embedded", "My_Chip").replace(
            "core_clock=500e6", "core_clock=125e6"
        ),
        "utf-8",
    )
    options = {
        **u55.options,
        "config": str(config),
        "system_config": "My_Chip",
        "memory_mode": "Shared_Sram",
    }
    with replace(u55, options=options).open(saved(tmp_path, tflite_models.int8_model())) as session:
        assert session.facts["accelerator"] == "Ethos_U55_128, My_Chip, Shared_Sram"
        assert session.facts["clock_mhz"] == "125"
    with pytest.raises(UsageError, match=r"no-such\.ini cannot be read"):
        replace(u55, options={**options, "config": str(tmp_path / "no-such.ini")}).open(
            tmp_path / "model.tflite"
        )


@pytest.mark.parametrize("kind", ["", "100", "256,a,b,c", "ethos-u55-256"])
def test_what_is_no_setting(kind: str) -> None:
    with pytest.raises(
        UsageError, match=r"is no setting of ethos-u55\s+hint: write MACS.* 32, 64, 128, 256"
    ):
        TARGETS.load(f"ethos-u55:{kind}")


@pytest.mark.parametrize(
    "kind", ["128,Nowhere", "128,,Nowhere", "128,Ethos_U55_High_End_Embedded,Dedicated_Sram"]
)
def test_a_setting_that_vela_does_not_know_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match=r"Incorrect argument to CLI option|Invalid configuration"):
        u55.variant(kind).open(saved(tmp_path, tflite_models.int8_model()))


@NPUS
def test_operators_on_the_cpu_are_named_and_not_in_the_estimate(
    tmp_path: Path, target: EthosUTarget
) -> None:
    path = saved(tmp_path, with_a_fallback())
    with target.open(path) as session:
        assert session.facts["on_npu"] == "1 of 5 operators"
        assert (
            session.facts["on_cpu"]
            == "DEQUANTIZE x~axes0231~real, CONV_2D c, ADD r~real, QUANTIZE r"
        )
        assert "inferences_per_second" not in session.facts
        assert session.estimate_note.endswith("without 4 operators on the CPU")
    found = audit(path, target.name)
    by_type = {op.op_type: op for op in found.ops}
    assert by_type["ADD"].state == "fallback"
    assert "unsupported DataType Float32" in by_type["ADD"].why
    assert [op.state for op in found.ops if op.name.startswith("y")] == ["delegated"]
    assert found.integer_share is not None
    assert found.integer_share < 1


def test_a_file_that_vela_takes_nothing_of_is_refused(data_dir: Path) -> None:
    path = data_dir / "models" / "resnet8-float.tflite"
    for run in (u55.open, u55.plan):
        with pytest.raises(TargetError, match=r"Vela puts no operator of .* on the NPU: .*Float32"):
            run(path)


def test_weights_in_int4_crash_vela_and_the_hint_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, zoo_models.tflite("resnet8", 4, 4, "int4"))
    with pytest.raises(
        TargetError,
        match=r"ended by SIGFPE .* stores weights in int4\s+hint: edgeq export --weight-storage "
        r"int8",
    ):
        u55.open(path)


def test_the_estimate_reaches_the_profile_and_nothing_is_timed(tmp_path: Path) -> None:
    path = saved(tmp_path, zoo_models.tflite("resnet8"))
    npu, cpu = profile([Pair(path, "ethos-u55"), Pair(path, "tflite-ref")], seconds=0.05)
    with u55.open(path) as session:
        assert npu.latency.p50_ms == session.estimated_ms
    assert (npu.kind, npu.latency.runs, npu.latency.trustworthy) == ("estimated", 0, False)
    assert npu.latency.why == "estimated: Vela's model of the NPU"
    assert npu.facts["cycles"]
    assert (cpu.kind, cpu.latency.runs >= 10) == ("measured", True)


def test_without_vela_it_says_how_to_hint_that() -> None:
    absent = replace(u55, modules=("edgeq_no_such_module",), requirements=("edgeq-no-such==1",))
    found = absent.probe()
    assert not found.usable
    assert found.hint == "edgeq targets setup ethos-u55"
    broken = replace(u55, launcher=Interpreter(Path("/no/such/python")))
    assert "no Python at" in broken.probe().why_not
