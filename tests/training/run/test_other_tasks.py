"""Training for tasks other than classification: each has its loss, and is judged by its score."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.data import load
from edgeq.errors import UsageError
from edgeq.training.recipes.optimization import Optimizer
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run import loop

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data import DataSource

RECIPE = Recipe(
    "unet-tiny",
    "digits-segmentation",
    epochs=2,
    batch_size=4,
    lr=0.002,
    weight_decay=0.0,
    anneal_from=8,
    optimizer=Optimizer("adam"),
)
NETWORKS = {
    "digits-segmentation": ("unet-tiny", "mIoU"),
    "digits-denoising": ("gru-denoiser", "RMSE"),
    "digits-detection": ("yolo-tiny", "mAP50-95"),
}


def few(name: str) -> DataSource:
    """A data set with a handful of samples in each split."""
    source = load(name)
    return replace(
        source,
        train=source.train.take(np.arange(8)),
        validation=source.validation.take(np.arange(4)),
        test=source.test.take(np.arange(4)),
    )


@pytest.mark.parametrize("data", NETWORKS)
def test_a_run_is_judged_by_the_score_of_its_task(data: str, tmp_path: Path) -> None:
    if data == "digits-detection":
        pytest.importorskip("pycocotools")
    model, name = NETWORKS[data]
    result = loop.train(replace(RECIPE, model=model, data=data), few(data), tmp_path, threads=1)
    assert result.score is not None
    assert (result.score.name, result.score.samples) == (name, 4)
    assert (result.test_correct, result.test_total) == (0, 0)
    first, second = (epoch.validation for epoch in result.history)
    best = min(first, second) if name == "RMSE" else max(first, second)
    assert result.validation == best
    assert (result.history[0].accuracy is None) == (name != "mIoU")
    record = json.loads((tmp_path / loop.RUN).read_text())
    assert math.isclose(record["score"]["value"], result.score.value)


def test_qat_goes_on_from_the_float_run(tmp_path: Path) -> None:
    source = few("digits-segmentation")
    real = loop.train(RECIPE, source, tmp_path / "float", threads=1)
    recipe = replace(
        RECIPE, scheme=Scheme(8, 8), epochs=1, lr=1e-4, init_from=str(real.folder / loop.BEST)
    )
    result = loop.train(recipe, source, tmp_path / "qat", threads=1)
    assert result.score is not None


def test_a_classifier_is_no_network_for_pixels(tmp_path: Path) -> None:
    recipe = replace(RECIPE, model="resnet8")
    with pytest.raises(UsageError, match=r"answers \(11,\) to images(.|\n)*unet-tiny"):
        loop.train(recipe, few("digits-segmentation"), tmp_path, threads=1)
