"""The networks for tasks: what they answer, and that all of it can be quantised and written."""

from __future__ import annotations

import pytest
import torch

from edgeq.exporters.torch.lower import lower
from edgeq.models import zoo
from edgeq.qdq.reader import read_qdq
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

CANVAS, STRIP, FRAMES, IMAGE = (1, 64, 64), (1, 49, 10), (1, 9, 10), (3, 32, 32)
NETWORKS = {
    "yolo-tiny": (CANVAS, [(32, 16, 16), (10, 16, 16), (32, 8, 8), (10, 8, 8)]),
    "unet-tiny": (CANVAS, [(10, 64, 64)]),
    "ds-cnn": (STRIP, [(10,)]),
    "mobilenetv3-small": (IMAGE, [(10,)]),
    "vit-tiny": (IMAGE, [(10,)]),
    "gru-denoiser": (FRAMES, [(9, 10)]),
}


def build(name: str) -> torch.nn.Module:
    shape = NETWORKS[name][0]
    torch.manual_seed(0)
    return zoo.build(name, classes=10, in_channels=shape[0], image_size=(shape[1], shape[2]))


def answers(network: torch.nn.Module, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    with torch.no_grad():
        answer = network(torch.rand(2, *shape))
    return [tuple(one.shape[1:]) for one in ([answer] if torch.is_tensor(answer) else answer)]


def test_every_network_for_tasks_is_here() -> None:
    known = [name for name in zoo.names() if ".tasks." in zoo.describe(name).factory]
    assert sorted(known) == sorted(NETWORKS)
    others = [name for name in known if zoo.describe(name).task != "top1"]
    assert set(others) & set(zoo.image_names()) == set()


@pytest.mark.parametrize("name", NETWORKS)
def test_it_answers_as_its_task_asks(name: str) -> None:
    shape, wanted = NETWORKS[name]
    assert answers(build(name), shape) == wanted


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_quantised_and_written_in_integers(name: str) -> None:
    shape, wanted = NETWORKS[name]
    network = quantize(build(name), Scheme(8, 8), torch.zeros(1, *shape))
    assert answers(network, shape) == wanted
    graph = read_qdq(lower(network, shape))
    assert [output.tensor.is_float for output in graph.outputs] == [False] * len(wanted)
