"""Costs are counted on what really runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeq.errors import UsageError
from edgeq.models.macs import count_macs, count_parameters


def test_a_convolution_by_hand() -> None:
    macs = count_macs(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU()), (3, 9, 7))
    assert macs == {"0": 3 * 8 * 9 * 5 * 4}


def test_groups_make_a_convolution_cheaper() -> None:
    assert count_macs(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8)), (8, 4, 4)) == {
        "0": 8 * 9 * 16
    }


def test_a_transposed_convolution_costs_its_input_pixels() -> None:
    assert count_macs(nn.Sequential(nn.ConvTranspose2d(4, 2, 2, stride=2)), (4, 5, 5)) == {
        "0": 4 * 2 * 4 * 25
    }


def test_a_linear_layer_by_hand() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    assert count_macs(network, (3, 2, 2)) == {"1": 60}


def test_a_linear_layer_costs_once_for_each_row() -> None:
    assert count_macs(nn.Sequential(nn.Linear(4, 5)), (3, 2, 4)) == {"0": 3 * 2 * 20}


def test_a_module_that_runs_twice_counts_twice() -> None:
    layer = nn.Conv2d(2, 2, 1)
    assert sum(count_macs(nn.Sequential(layer, layer), (2, 3, 3)).values()) == 2 * 4 * 9


def test_counting_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_macs(network, (3, 8, 8))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"cannot take an input of \(1, 8, 8\)"):
        count_macs(nn.Sequential(nn.Conv2d(3, 8, 3)), (1, 8, 8))


def test_shared_parameters_count_once_and_frozen_ones_not() -> None:
    a, b, frozen = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4).requires_grad_(False)
    b.weight = a.weight
    assert count_parameters(nn.Sequential(a, b, frozen)) == 16 + 4 + 4
