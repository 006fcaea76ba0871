"""Training with each option: cut off, it goes on to the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.support.models.tiny_training import RECIPE, source, stop_after, weights

from edgeq.errors import ArtefactError, Interrupted
from edgeq.training.checkpoint import load_model, read, write_file
from edgeq.training.recipes.optimization import Group, Optimizer, Schedule
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run import loop

if TYPE_CHECKING:
    from pathlib import Path

FIRST_FIELDS = (
    "model",
    "data",
    "scheme",
    "epochs",
    "batch_size",
    "lr",
    "momentum",
    "weight_decay",
    "anneal_from",
    "seed",
    "precision",
    "compiled",
)


OPTIONS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": Optimizer("adam"), "lr": 1e-3, "schedule": Schedule("step", at=(0.4,))},
    "rmsprop": {
        "optimizer": Optimizer("rmsprop", epsilon=1.0),
        "lr": 0.045,
        "schedule": Schedule("exponential", factor=0.97),
    },
    "average": {"ema": 0.9},
    "consistency": {"consistency": 0.5},
    "hinge": {
        "loss": "squared-hinge",
        "augmentation": "affine",
        "groups": (Group("act-bounds", lr=0.01, weight_decay=0.0),),
    },
}


class TestOptions:
    @pytest.mark.parametrize("name", OPTIONS)
    def test_each_can_be_interrupted_and_goes_on_to_the_same_bytes(
        self, tmp_path: Path, name: str
    ) -> None:
        run = replace(RECIPE, epochs=2, anneal_from=4, **OPTIONS[name])
        data = source(48)
        loop.train(run, data, tmp_path / "whole", threads=1)
        with pytest.raises(Interrupted):
            loop.train(run, data, tmp_path / "parts", threads=1, report=stop_after(2))
        loop.train(run, data, tmp_path / "parts", threads=1, resume=True)
        assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
        plain = read(tmp_path / "whole" / loop.LAST).recipe
        assert plain == run

    def test_each_makes_a_difference(self, tmp_path: Path) -> None:
        found = set()
        for name, options in {"none": {}, **OPTIONS}.items():
            loop.train(
                replace(RECIPE, epochs=1, anneal_from=4, **options),
                source(32),
                tmp_path / name,
                threads=1,
            )
            found.add((tmp_path / name / loop.BEST).read_bytes()[-4000:])
        assert len(found) == len(OPTIONS) + 1

    def test_the_average_is_what_is_kept_and_the_weights_what_is_trained(
        self, tmp_path: Path
    ) -> None:
        result = loop.train(replace(RECIPE, ema=0.9), source(), tmp_path, threads=1)
        last, best = read(tmp_path / loop.LAST), read(tmp_path / loop.BEST)
        model = {name: tensor for name, tensor in last.tensors.items() if name.startswith("model/")}
        average = {name: last.tensors[name.replace("model/", "average/", 1)] for name in model}
        assert result.best_epoch == 2, "else the comparison is of two epochs"
        assert all(torch.equal(average[name], best.tensors[name]) for name in model)
        assert not all(torch.equal(model[name], best.tensors[name]) for name in model)
        assert (
            loop.evaluate(load_model(tmp_path / loop.BEST).module, source().test, source())
            == result.test_correct
        )

    def test_a_teacher_is_learnt_from(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        teacher = str(finished[0] / loop.BEST)
        run = replace(RECIPE, epochs=1, anneal_from=4, teacher=teacher, distillation=1.0)
        loop.train(run, source(), tmp_path / "taught", threads=1)
        data = source()
        labels = data.train.class_labels.copy()
        data = replace(data, train=replace(data.train, labels=(labels + 1) % 4))
        loop.train(run, data, tmp_path / "mislabelled", threads=1)
        assert (
            weights(tmp_path / "taught")[loop.LAST][-4000:]
            == weights(tmp_path / "mislabelled")[loop.LAST][-4000:]
        ), "labels do not count"

    def test_a_teacher_of_other_data_is_refused(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        run = replace(RECIPE, teacher=str(finished[0] / loop.BEST))
        with pytest.raises(ArtefactError, match=r"the teacher .* 4 classes, and made-up has .* 5"):
            loop.train(run, replace(source(), classes=tuple("abcde")), tmp_path)

    def test_it_goes_on_from_fewer_bits_to_even_fewer(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        run = replace(
            RECIPE,
            scheme=Scheme(3, 3),
            epochs=1,
            lr=1e-9,
            weight_decay=0.0,
            init_from=str(finished[0] / loop.BEST),
        )
        loop.train(run, source(32), tmp_path, threads=1)
        before, after = (read(folder / loop.BEST).tensors for folder in (finished[0], tmp_path))
        kernels = [name for name, tensor in before.items() if tensor.ndim == 4]
        assert kernels
        assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in kernels)

    def test_the_epochs_are_reported(self, tmp_path: Path) -> None:
        seen: list[loop.Epoch] = []
        result = loop.train(RECIPE, source(32), tmp_path, threads=1, report_epoch=seen.append)
        assert tuple(seen) == result.history

    def test_bfloat16_and_compiled_leave_evaluation_in_float32(self, tmp_path: Path) -> None:
        run = replace(RECIPE, epochs=1, anneal_from=4, precision="bf16")
        result = loop.train(run, source(32), tmp_path, threads=1)
        assert np.isfinite(result.history[0].loss)
        assert all(
            tensor.dtype != torch.bfloat16 for tensor in read(tmp_path / loop.BEST).tensors.values()
        )


def older(folder: Path) -> None:
    """Leave a checkpoint as the first release wrote them.

    Without any of the fields that came later.
    """
    saved = read(folder / loop.LAST)
    content = {name: saved.recipe.to_dict()[name] for name in FIRST_FIELDS}
    header: dict[str, Any] = {
        "format": "edgeq.checkpoint/1",
        "edgeq_version": "0.1.0",
        "recipe": content,
    }
    header |= {
        "input_shape": [*saved.input_shape],
        "classes": [*saved.classes],
        "progress": dict(saved.progress),
    }
    write_file(folder / loop.LAST, header, saved.tensors)


def test_a_checkpoint_of_the_first_fields_goes_on(
    finished: tuple[Path, loop.TrainingResult], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        loop.train(RECIPE, source(), tmp_path, threads=1, report=stop_after(7))
    older(tmp_path)
    loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
    assert weights(tmp_path) == weights(finished[0])


def test_weights_by_coin_are_tossed_alike_after_an_interruption(tmp_path: Path) -> None:
    run = replace(
        RECIPE,
        scheme=Scheme(1, 4, weights="binary-connect-stochastic"),
        epochs=2,
        loss="squared-hinge",
        anneal_from=2,
    )
    loop.train(run, source(48), tmp_path / "whole", threads=1)
    with pytest.raises(Interrupted):
        loop.train(run, source(48), tmp_path / "parts", threads=1, report=stop_after(2))
    torch.randn(3)
    loop.train(run, source(48), tmp_path / "parts", threads=1, resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
