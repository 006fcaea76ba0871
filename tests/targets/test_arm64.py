"""The aarch64 runtimes: which QEMU will do, which processor, and how what is missing is told."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models

from edgeq.errors import TargetError, UsageError
from edgeq.target import TARGETS
from edgeq.targets import arm64 as targets
from edgeq.targets.workers import counting
from edgeq.targets.workers.provisioning import arm64

if TYPE_CHECKING:
    from pathlib import Path

QEMU = "#!/bin/sh\necho 'qemu-aarch64 version {} (Debian 1:{})'\n"
set_up = pytest.mark.skipif(
    not (targets.ort.probe().usable and targets.tflite.probe().usable),
    reason="edgeq targets setup arm64-ort and arm64-tflite make them",
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, and no place that was set up."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGEQ_HOME", str(tmp_path / "home"))
    return tmp_path


def install(folder: Path, version: str, name: str = "qemu-aarch64-static") -> str:
    program = folder / name
    program.write_text(QEMU.format(version, version).replace("echo", "/bin/echo"))
    program.chmod(0o755)
    return str(program)


def test_no_qemu_is_told(path: Path) -> None:
    with pytest.raises(TargetError, match=r"not installed\n  hint: edgeq targets setup arm64-ort"):
        arm64.emulator()


def test_debian_12_s_qemu_is_refused_with_what_it_does(path: Path) -> None:
    program = install(path, "7.2.22")
    with pytest.raises(
        TargetError, match=r"is QEMU 7\.2\.22: .*import of onnxruntime.*constructor of LiteRT's"
    ):
        arm64.emulator()
    assert targets.ort.faults() == [f"{program} is QEMU 7.2.22: {arm64.FAULT}"]


def test_one_that_works_is_taken_from_behind_one_that_does_not(path: Path) -> None:
    install(path, "7.2.22")
    newer = install(path, "10.0.2", "qemu-aarch64")
    found = arm64.emulator()
    assert (found.program, found.number) == (newer, "10.0.2")


def test_something_else_of_that_name_is_no_qemu(path: Path) -> None:
    program = path / "qemu-aarch64"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    assert arm64.emulators() == []


def test_what_is_not_assembled_is_told_with_the_command(path: Path) -> None:
    install(path, "10.0.2")
    found = targets.tflite.probe()
    assert not found.usable
    assert found.hint == "edgeq targets setup arm64-tflite"


def test_the_processor_is_part_of_the_name() -> None:
    found = TARGETS.load("arm64-ort:cortex-a53")
    assert isinstance(found, targets.Arm64Target)
    assert (found.cpu, targets.ort.cpu) == ("cortex-a53", "cortex-a76")
    assert "cortex-a53" in found.capabilities.summary
    assert set(found.variants()) >= {"cortex-a53", "cortex-a76", "max"}


def test_every_requirement_is_exact() -> None:
    assert all(
        "==" in each for target in (targets.ort, targets.tflite) for each in target.requirements
    )


def test_a_wheel_that_leads_out_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("../outside.py", "")
    with pytest.raises(TargetError, match="leads out"):
        arm64.unzip(tmp_path / "w.whl", tmp_path / "site" / "packages")
    assert not (tmp_path / "site" / "outside.py").exists()


def test_the_log_of_blocks_adds_up() -> None:
    log = counting.LogCounter()
    log.counting = True
    text = (
        b"----------------\nIN: f\n0x55d670000:  a9bf7bfd  stp x29\n"
        b"0x55d670004:  910003fd  mov x29\n\n"
        b"Trace 0: 0x7f53 [00001001/000000055d670000/00000001/00008200] f\n"
        b"Trace 1: 0x7f53 [00001001/000000055d670000/00000001/00008200] f\n"  # another thread
        b"Trace 0: 0x7f53 [00001001/000000055d670000/00000001/00008200] f\n"
    )
    for i in range(0, len(text), 7):  # pipes cut where they like
        log.add(text[i : i + 7])
    log.finish()
    assert log.total() == 4


def test_a_log_that_reads_otherwise_is_no_count() -> None:
    log = counting.LogCounter()
    log.counting = True
    log.add(b"something else\n")
    log.finish()
    with pytest.raises(TargetError, match="cannot be read"):
        log.total()


@set_up
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cortex-a53", "cortex-a76", "max"])
def test_the_reference_s_integers_come_back(kind: str, tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(tflite_models.int8_model())
    images = onnx_models.images(4)
    with (
        TARGETS.load("tflite-ref").open(model) as here,
        TARGETS.load(f"arm64-tflite:{kind}").open(model) as there,
    ):
        assert there.output.params is not None
        distance = np.abs(here.run(images) - there.run(images)) / float(there.output.params.scale)
        assert kind in there.facts["cpu"]
        assert ("asimddp" in there.facts["cpu_features"]) == (kind != "cortex-a53")
    # XNNPACK rounds in another way than the reference kernels, on x86 too
    assert np.rint(distance).max() <= 1


@set_up
@pytest.mark.slow
def test_a_processor_that_qemu_does_not_know_is_named(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(tflite_models.int8_model())
    with pytest.raises(UsageError, match="knows no processor 'nonsense'"):
        targets.tflite.variant("nonsense").open(model)


@set_up
@pytest.mark.slow
def test_dot_products_take_fewer_instructions(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(tflite_models.int8_model())
    patient = replace(targets.tflite, limits=replace(targets.tflite.limits, open_seconds=600.0))
    with_dots = patient.instructions(model)
    assert with_dots == patient.instructions(model)
    assert with_dots < patient.variant("cortex-a53").instructions(model)
