"""From the flags of a scheme, and a recipe's scheme, to the one that holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeq.deploy.scheme_check.options import on_graphs, required, scheme_of
from edgeq.errors import UsageError
from edgeq.network.layer_rules import LayerRule
from edgeq.training.recipes.scheme import Scheme

NONE: dict[str, Any] = {"weight_bits": None, "weights": None, "per_channel": None}


class TestSchemeOf:
    def test_without_flags_a_recipes_own_holds(self) -> None:
        assert scheme_of(Scheme(3, 5), NONE, (), fp32=False) == Scheme(3, 5)
        assert scheme_of(None, NONE, (), fp32=False) is None

    def test_flags_go_before_a_recipes(self) -> None:
        flags = NONE | {"per_channel": False, "weight_bits": 2}
        assert scheme_of(Scheme(3, 5, per_channel=True), flags, (), fp32=False) == Scheme(
            2, 5, per_channel=False
        )

    def test_a_flag_alone_asks_for_quantisation(self) -> None:
        assert scheme_of(None, NONE | {"per_channel": True}, (), fp32=False) == Scheme(
            4, per_channel=True
        )

    def test_rules_come_behind_a_recipes(self) -> None:
        first = LayerRule("a", weight_bits=2)
        found = scheme_of(Scheme(layers=(first,)), NONE, ("b=act_bits:3",), fp32=False)
        assert found is not None
        assert found.layers == (first, LayerRule("b", act_bits=3))

    def test_a_method_of_one_width_brings_it_unless_another_is_given(self) -> None:
        assert scheme_of(Scheme(8, 8), NONE | {"weights": "xnor"}, (), fp32=False) == Scheme(
            1, 8, weights="xnor"
        )
        with pytest.raises(UsageError, match="xnor has no 4-bit weights"):
            scheme_of(None, NONE | {"weights": "xnor", "weight_bits": 4}, (), fp32=False)

    @pytest.mark.parametrize(
        ("flags", "layers"), [(NONE | {"weight_bits": 4}, ()), (NONE, ("a=weight_bits:2",))]
    )
    def test_fp32_leaves_no_room_for_others(
        self, flags: dict[str, Any], layers: tuple[str, ...]
    ) -> None:
        assert scheme_of(Scheme(), NONE, (), fp32=True) is None
        with pytest.raises(UsageError, match="--fp32"):
            scheme_of(None, flags, layers, fp32=True)


def test_a_graph_network_knows_widths_and_placement_only() -> None:
    flags = {"weight_bits": 4, "act_bits": None, "placement": None, "per_channel": None}
    assert on_graphs(flags, None) == {"weight_bits": 4, "act_bits": None, "placement": None}
    for others in ((flags | {"per_channel": True}, None), (flags, ["a=weight_bits:2"])):
        with pytest.raises(UsageError, match="means nothing for a graph network"):
            on_graphs(*others)


def test_a_run_needs_a_folder() -> None:
    assert required(Path("here")) == Path("here")
    with pytest.raises(UsageError, match="no folder"):
        required(None)
