"""What several experiments do alike."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.splitting import stratified
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data import DataSource


def reduced(source: DataSource, images: int, held_out: int, test_images: int) -> DataSource:
    """A fixed part of the samples, with equal shares of the classes in training.

    Args:
        source: the data.
        images: training samples; 0 for all.
        held_out: samples of the validation split, to choose an epoch by; 0 for all.
        test_images: the first of the test samples; 0 for all.
    """
    if images and images < len(source.train):
        chosen = np.flatnonzero(stratified(source.train.class_labels, images))
        source = replace(source, train=source.train.take(chosen))
    validation, test = source.validation, source.test
    if held_out:
        validation = validation.take(np.arange(min(held_out, len(validation))))
    if test_images:
        test = test.take(np.arange(min(test_images, len(test))))
    return replace(source, validation=validation, test=test)


def onnx_of(run: Path) -> Path:
    """The QDQ file of a run's best checkpoint, beside it."""
    (file,) = export(run / BEST, ["onnx"], run, ExportOptions(), overwrite=True)
    return file.path


def forget(*runs: Path) -> None:
    """Delete the checkpoints of runs; the figures are what is kept of a cell."""
    for run in runs:
        shutil.rmtree(run)


def percent(right: int, total: int) -> float:
    """Right answers, in %."""
    return 100 * right / total
