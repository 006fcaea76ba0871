"""What a machine would make of a network, from the library and from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import load, normalize
from edgeq.data.splitting import First
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.emulation import emulate
from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.errors import ArtefactError, TargetError, UnknownName
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.models import zoo
from edgeq.target import TARGETS
from edgeq.targets.emulator.hardware.costs import total

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.data import DataSource

SAMPLES = First(24)
NARROW = """
summary = "ten bits"

[arithmetic]
rounding = "single"
accumulator_bits = 10
overflow = "saturate"
source = "made up for a test"
"""


@pytest.fixture(scope="module")
def digits() -> DataSource:
    return load("digits")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, digits: DataSource) -> Path:
    """A ResNet-8 of random weights, calibrated to 4W/8A on digits."""
    torch.manual_seed(0)
    module = lower(zoo.build("resnet8", classes=10, in_channels=1), (1, 8, 8))
    path: Path = tmp_path_factory.mktemp("network") / "resnet8.onnx"
    path.write_bytes(
        serialize(
            quantize_onnx(
                module,
                [normalize(digits.train.images[:32], digits)],
                CalibrationConfig(weight_bits=4, methods=()),
            )
        )
    )
    return path


def test_wide_sums_are_exact_and_narrow_ones_saturate(
    network: Path, digits: DataSource, tmp_path: Path
) -> None:
    (tmp_path / "narrow.toml").write_text(NARROW)
    wide = emulate(network, "tflm", source=digits, limit=SAMPLES)
    narrow = emulate(network, str(tmp_path / "narrow.toml"), source=digits, limit=SAMPLES)
    assert wide.counts.sums == narrow.counts.sums > 0
    assert wide.counts.overflowed == wide.counts.wrong == 0
    assert narrow.counts.overflowed >= narrow.counts.wrong > 0
    assert (narrow.hardware, narrow.summary, narrow.cost) == ("narrow", "ten bits", None)
    assert wide.answers is not None
    assert narrow.answers is not None
    assert narrow.answers.exact == wide.answers.exact
    assert wide.answers.changed is not None
    assert narrow.answers.changed is not None
    assert wide.answers.changed < narrow.answers.changed


def test_a_task_is_scored_beside_exact_arithmetic(network: Path, digits: DataSource) -> None:
    found = emulate(network, "tflm", source=digits, limit=8, task=AskedTask("top5")).answers
    assert found is not None
    assert found.score is not None
    assert found.exact_score is not None
    assert found.score.name == found.exact_score.name == "top-5 accuracy"
    assert found.accuracy is None


def test_the_counts_are_those_of_the_samples_and_the_answers_those_of_the_target(
    network: Path, digits: DataSource
) -> None:
    found = emulate(network, "emulator:avx2", source=digits, limit=SAMPLES)
    (stem,) = [layer for layer in found.layers if layer.name == "stem_relu"]
    assert stem.counts.sums == SAMPLES * 16 * 8 * 8
    assert found.counts == sum((layer.counts for layer in found.layers[1:]), found.layers[0].counts)
    with (
        TARGETS.load("emulator:avx2").open(network) as hardware,
        TARGETS.load("emulator").open(network) as exact,
    ):
        images = normalize(digits.test.images[:SAMPLES], digits)
        answers, reference = hardware.run(images).argmax(1), exact.run(images).argmax(1)
    assert found.answers is not None
    assert found.answers.changed == int((answers != reference).sum())
    assert found.answers.accuracy is not None
    assert found.answers.accuracy.correct == int(
        (answers == digits.test.class_labels[:SAMPLES]).sum()
    )


def test_costs_need_no_samples(network: Path) -> None:
    found = emulate(network, "cmsis-nn-m4")
    assert found.answers is None
    assert not found.counts.sums
    assert found.assumed == ("outputs a cycle",)
    costs = [layer.cost for layer in found.layers if layer.cost is not None]
    assert len(costs) == len(found.layers)
    assert found.cost == total(costs)
    assert found.cost is not None
    # two products a cycle at most
    assert found.cost.cycles >= sum(layer.macs for layer in found.layers) / 2


def test_layers_too_wide_for_a_machine_are_its_hosts_and_cost_nothing_that_is_known(
    network: Path,
) -> None:
    found = emulate(network, "accel-4bit")
    places = {layer.name: layer.place for layer in found.layers}
    assert places["stem_relu"] == "host"  # 8-bit weights and activations
    assert all((layer.cost is None) == (layer.place == "host") for layer in found.layers)


def test_a_machine_without_a_host_refuses_them(network: Path, tmp_path: Path) -> None:
    (tmp_path / "narrow.toml").write_text(
        NARROW.replace("overflow", "weight_bits = [1, 2]\noverflow")
    )
    with pytest.raises(TargetError, match=r"narrow takes at most weights of 2 bits"):
        emulate(network, str(tmp_path / "narrow.toml"))


@pytest.mark.parametrize(
    ("hardware", "error", "says"),
    [("avx3", UnknownName, "did you mean 'avx2'"), ("no.toml", ArtefactError, "there is no")],
)
def test_a_machine_nobody_knows_is_refused(
    network: Path, hardware: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        emulate(network, hardware)


def test_the_command_answers_with_one_document(network: Path, answer: Callable[..., Any]) -> None:
    found = answer("emulate", network, "--on", "avx2", "--data", "digits", "--limit", 8)[
        "emulation"
    ]
    assert found["hardware"] == "avx2"
    assert found["answers"]["samples"] == 8
    assert {"sums", "overflowed", "pairs", "wrong", "clipped"} <= set(found["layers"][0]["counts"])
    assert found["cost"]["cycles"] == sum(layer["cost"]["cycles"] for layer in found["layers"])


def test_the_command_shows_each_layer_and_what_is_assumed(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["emulate", str(network), "--on", "accel-4bit", "--data", "digits", "--limit", "4"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "stem_relu" in shown
    assert "host" in shown
    assert "digits, 4 samples" in shown
    assert "assumed, not published: clock, bytes a cycle, outputs a cycle, MACs a cycle" in shown


def test_the_command_refuses_a_broken_profile(
    network: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "own.toml").write_text(NARROW.replace("single", "upwards"))
    assert "arithmetic.rounding: 'upwards' is not known" in refusal(
        "emulate", network, "--on", tmp_path / "own.toml"
    )


def test_samples_go_through_in_batches_and_alone_alike(
    network: Path, digits: DataSource, tmp_path: Path
) -> None:
    (tmp_path / "narrow.toml").write_text(NARROW)
    images = normalize(digits.test.images[:6], digits)
    with TARGETS.load(f"emulator:{tmp_path / 'narrow.toml'}").open(network) as session:
        side_by_side = session.run(images)
        alone = np.concatenate([session.run(images[i : i + 1]) for i in range(6)])
    assert np.array_equal(side_by_side, alone)
