"""Every name builds a network that can be traced, from parts that can be lowered, of the size that was published."""

from __future__ import annotations

import operator
import subprocess
import sys

import pytest
import torch
from torch import fx, nn

from edgeq.errors import UnknownName, UsageError
from edgeq.models import zoo

LOWERABLE_MODULES = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.Linear,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
)
LOWERABLE_FUNCTIONS = {operator.add, operator.sub, operator.mul, operator.getitem, torch.cat, nn.functional.pad}


@pytest.mark.parametrize("name", zoo.names())
def test_traces_to_parts_that_can_be_lowered_and_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    network = zoo.build(name, classes=7, in_channels=2).eval()
    traced = fx.symbolic_trace(network)
    used = []
    for node in traced.graph.nodes:
        if node.op == "call_module":
            used.append(node.target)
            assert type(network.get_submodule(node.target)) in LOWERABLE_MODULES
        elif node.op == "call_function":
            assert node.target in LOWERABLE_FUNCTIONS
        else:
            assert node.op in ("placeholder", "output")
    assert len(used) == len(set(used))
    x = torch.randn(2, 2, 8, 8)
    assert torch.equal(traced(x), network(x))
    assert network(x).shape == (2, 7)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
@pytest.mark.parametrize("name", ["resnet8", "resnet8-a", "stable-resnet8"])
def test_takes_every_image_size_of_our_data_sets(name: str, channels: int, size: int) -> None:
    network = zoo.build(name, classes=10, in_channels=channels)
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 10)


@pytest.mark.parametrize("name", zoo.names())
def test_the_name_says_the_depth(name: str) -> None:
    network = zoo.build(name, classes=10)
    on_the_path = [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and "shortcut" not in path
    ]
    assert len(on_the_path) == zoo.describe(name).depth
    assert str(zoo.describe(name).depth) in name


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'stable-resnet56'"):
        zoo.build("stable_resnet56", classes=10)


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (10, 0), (-1, 3)])
def test_refuses_a_network_without_outputs_or_inputs(classes: int, channels: int) -> None:
    with pytest.raises(UsageError):
        zoo.build("resnet8", classes=classes, in_channels=channels)


def test_published_counts() -> None:
    counted = {(spec.name, spec.classes): spec.params for spec in zoo.published()}
    assert counted == {
        ("resnet20-a", 10): 269_722,
        ("resnet32-a", 10): 464_154,
        ("resnet44-a", 10): 658_586,
        ("resnet56-a", 10): 853_018,
        ("resnet56", 10): 855_770,
        ("stable-resnet56", 10): 405_850,
        ("resnet56", 100): 861_620,
        ("stable-resnet56", 100): 411_700,
    }


def test_the_count_agrees_with_what_was_printed() -> None:
    for spec in zoo.published():
        hundredths = spec.params / 10_000
        assert round(float(spec.published_params) * 100) in (int(hundredths), round(hundredths)), spec  # some are truncated


def test_macs_of_the_stable_network_by_hand() -> None:
    spec = next(spec for spec in zoo.published() if spec.name == "stable-resnet56" and spec.classes == 10)
    at_32 = 9 * 3 * 16 + 9 * 2 * 9 * 16**2 + 2 * 9 * 16**2  # stem, stage 1, and the block that leaves it
    at_16 = 8 * 2 * 9 * 32**2 + 2 * 9 * 32**2
    at_8 = 8 * 2 * 9 * 64**2
    assert spec.macs == at_32 * 1024 + at_16 * 256 + at_8 * 64 + 640


def test_a_listing_imports_no_torch() -> None:
    code = "import sys; from edgeq.models import zoo; [zoo.describe(n) for n in zoo.names()]; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
