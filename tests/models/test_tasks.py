"""The networks for tasks: what they answer, and that all of it can be quantised and written."""

from __future__ import annotations

import pytest
import torch

from edgeq.exporters.torch.lower import lower
from edgeq.models import zoo
from edgeq.qdq.reader import read_qdq
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

ANSWERS = {"yolo-tiny": [(32, 16, 16), (10, 16, 16), (32, 8, 8), (10, 8, 8)]}
SHAPES = {"yolo-tiny": (1, 64, 64)}


@pytest.mark.parametrize("name", [n for n in zoo.names() if zoo.describe(n).task != "top1"])
def test_it_answers_and_is_written_in_integers(name: str) -> None:
    shape = SHAPES[name]
    torch.manual_seed(0)
    network = quantize(
        zoo.build(name, classes=10, in_channels=shape[0], image_size=shape[1:]),
        Scheme(8, 8),
        torch.zeros(1, *shape),
    )
    with torch.no_grad():
        answer = network(torch.rand(2, *shape))
    answers = [answer] if isinstance(answer, torch.Tensor) else list(answer)
    assert [tuple(one.shape[1:]) for one in answers] == ANSWERS[name]
    graph = read_qdq(lower(network, shape))
    assert [output.tensor.is_float for output in graph.outputs] == [False] * len(answers)


def test_networks_for_other_tasks_are_no_classifiers() -> None:
    assert "yolo-tiny" not in zoo.image_names()
    assert "yolo-tiny" in zoo.names()
