"""A scheme that changes what a trained network computes says so.

By how much, which field does it, and what to give instead.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import edgeq
from edgeq.errors import FunctionChanged

IMAGES = torch.randn(16, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def network(*, trained: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    ).train()
    if trained:
        with torch.no_grad():
            for name in ("0.weight", "3.weight"):
                made.get_parameter(name).mul_(torch.logspace(-3, 0, 8).reshape(-1, 1, 1, 1))
            for _ in range(60):
                made(IMAGES)
    return made


def told(scheme: edgeq.Scheme, example: Any = IMAGES, **options: Any) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        edgeq.quantize(network(**options), scheme, example)
    assert len(caught) <= 1
    assert all(each.category is FunctionChanged and each.filename == __file__ for each in caught)
    return str(caught[0].message) if caught else ""


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_default_scheme_changes_nothing_but_by_rounding(bits: int) -> None:
    assert told(edgeq.Scheme(bits, bits)) == ""
    assert told(edgeq.Scheme(bits, 8, per_channel=True, affine=True, normalize_weights=False)) == ""


@pytest.mark.parametrize(
    "example", [IMAGES[:1], torch.zeros(1, 3, 12, 12)], ids=["an image", "a shape"]
)
def test_normalised_weights_are_named_with_what_they_change(example: Any) -> None:
    message = told(edgeq.Scheme(8, 8, normalize_weights=True), example)
    assert "before anything is rounded" in message
    assert "because of normalize_weights=True\n" in message
    assert "hint: to keep what is trained, set normalize_weights=False, which leaves" in message


def test_so_is_a_method_that_clips() -> None:
    scaled: Any = network()
    scaled[1].weight.data *= 40
    scaled[1].bias.data *= 40
    scaled[4].running_mean *= 40
    scaled[4].running_var *= 1600
    with pytest.warns(
        FunctionChanged, match=r"because of activations='learned-clip'\n.*set activations=\"auto\""
    ):
        edgeq.quantize(scaled, edgeq.Scheme(8, 8, activations="learned-clip"), IMAGES)


def test_so_is_one_step_for_channels_that_need_their_own() -> None:
    message = told(edgeq.Scheme(4, 8, per_channel=False))
    assert "once it rounds" in message
    assert "because of per_channel=False\n" in message
    assert "leave out per_channel" in message


def test_all_of_several_fields_are_named() -> None:
    message = told(edgeq.Scheme(1, 8, weights="binary-connect", normalize_weights=True))
    assert 'set weights="auto", weight_bits=2' in message
    assert told(edgeq.Scheme(8, 8, normalize_weights=True, affine=False)).count("affine") == 0, (
        "it changes next to nothing here"
    )


def test_nothing_is_said_of_what_is_not_trained_or_without_an_example() -> None:
    assert told(edgeq.Scheme(4, 4, normalize_weights=True), trained=False) == ""
    assert told(edgeq.Scheme(4, 4, normalize_weights=True), None) == ""


def test_the_network_and_its_copy_are_left_as_they_are() -> None:
    torch.manual_seed(5)
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.warns(FunctionChanged):
        warned = edgeq.quantize(model, edgeq.Scheme(8, 8, normalize_weights=True), IMAGES)
    silent = edgeq.quantize(model, edgeq.Scheme(8, 8, normalize_weights=True))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(
        torch.equal(tensor, silent.state_dict()[name])
        for name, tensor in warned.state_dict().items()
    )
