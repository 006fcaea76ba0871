"""Schemes: what they are called, what they refuse, and that they survive JSON and TOML."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from edgeq.errors import UnknownName, UsageError
from edgeq.network.layer_rules import LayerRule
from edgeq.training.quantizers.catalogue import METHODS
from edgeq.training.recipes.scheme import Scheme

FULL = Scheme(
    4,
    6,
    placement="paper",
    weights="learned-clip",
    activations="tracked",
    per_channel=True,
    affine=True,
    first_last="boundary",
    layers=(
        LayerRule("stages.2.*", weight_bits=8),
        LayerRule("fc", weights="max-abs", per_channel=False),
    ),
)


class TestRoundTrip:
    @pytest.mark.parametrize("scheme", [Scheme(), FULL])
    def test_through_json(self, scheme: Scheme) -> None:
        assert Scheme.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme

    def test_rules_are_tables_of_a_recipe(self) -> None:
        text = """
        weight_bits = 4
        per_channel = true
        [[layers]]
        match = "stages.2.*"
        weight_bits = 8
        act_bits = 2
        """
        expected = Scheme(
            4, per_channel=True, layers=(LayerRule("stages.2.*", weight_bits=8, act_bits=2),)
        )
        assert Scheme.from_dict(tomllib.loads(text)) == expected

    def test_a_scheme_of_an_older_version_is_the_published_one(self) -> None:
        old = {
            "weight_bits": 4,
            "act_bits": 4,
            "boundary_bits": 8,
            "placement": "paper",
            "normalize_weights": True,
        }
        assert Scheme.from_dict(old) == Scheme(4, 4, placement="paper", normalize_weights=True)

    def test_what_is_left_open_is_settled_as_published_or_stays_open(self) -> None:
        published = Scheme(4, 4).settled(normalize_weights=True)
        assert published == Scheme(4, 4, normalize_weights=True, per_channel=False, affine=False)
        assert Scheme(4, 4).settled(normalize_weights=False) == Scheme(
            4, 4, normalize_weights=False
        )
        assert (
            Scheme(4, 4, normalize_weights=True, affine=True)
            .settled(normalize_weights=False)
            .affine
            is True
        )


class TestName:
    def test_the_usual_ones_are_short(self) -> None:
        assert Scheme(4, 8).name == "4W/8A"
        assert Scheme(4, 8, placement="paper", first_last="float").name == "4W/8A"

    def test_what_is_not_as_usual_stands_behind(self) -> None:
        assert (
            FULL.name == "4W/6A learned-clip tracked per-channel affine first-last-boundary 2 rules"
        )

    def test_the_least_width_knows_the_rules(self) -> None:
        assert Scheme(4, 8).least_bits == 4
        assert (
            Scheme(
                8, 8, layers=(LayerRule("a", act_bits=3), LayerRule("b", weight_bits=5))
            ).least_bits
            == 3
        )


class TestRefusals:
    @pytest.mark.parametrize(
        "fields",
        [
            {"weight_bits": 0},
            {"act_bits": 9},
            {"boundary_bits": 1},
            {"weight_bits": 4.0},
            {"weight_bits": True},
            {"per_channel": 1},
            {"affine": "yes"},
            {"placement": "Paper"},
            {"first_last": "first"},
            {"layers": "fc"},
            {"layers": [{"match": "fc"}]},
            {"layers": [3]},
            {"bits": 4},
        ],
    )
    def test_fields_out_of_range(self, fields: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            Scheme.from_dict(fields)

    def test_a_method_in_the_wrong_role_is_told_from_an_unknown_one(self) -> None:
        with pytest.raises(UsageError, match="is a method for activations, and not for weights"):
            Scheme(weights="tracked")
        with pytest.raises(
            UnknownName, match="no method for weights is called 'max-aps'"
        ) as caught:
            Scheme(weights="max-aps")
        assert "did you mean 'max-abs'" in caught.value.hint

    def test_a_rule_is_checked_with_the_rest_of_the_scheme(self) -> None:
        with pytest.raises(UsageError, match=r"not for weights of the layers 'fc'"):
            Scheme(layers=(LayerRule("fc", weights="tracked"),))

    def test_one_bit_needs_a_method_that_has_it(self) -> None:
        with pytest.raises(UsageError, match="weight_bits is 1"):
            Scheme(weight_bits=1)

    @pytest.mark.parametrize(
        "method",
        [method for method in METHODS if len(method.widths) < 8],
        ids=lambda m: f"{m.name} {m.role}",
    )
    def test_a_method_has_its_own_widths(self, method: Any) -> None:
        bits = next(bits for bits in range(1, 9) if bits not in method.widths)
        width = "weight_bits" if method.role == "weights" else "act_bits"
        with pytest.raises(UsageError, match=f"{method.name} has no {bits}-bit {method.role}"):
            Scheme(**{method.role: method.name, width: bits})
