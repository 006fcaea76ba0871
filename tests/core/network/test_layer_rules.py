"""Rules for single layers.

Patterns, their order, and what is said about those that cannot be meant.
"""

from __future__ import annotations

import pytest

from edgeq.errors import UsageError
from edgeq.network.layer_rules import LayerRule, parse_rule, resolve

PATHS = ("conv1", "stages.0.0.conv1", "stages.0.0.conv2", "stages.1.0.conv1", "fc")


class TestResolve:
    def test_a_pattern_reaches_over_dots(self) -> None:
        found = resolve([LayerRule("stages.0.*", weight_bits=2)], PATHS)
        assert found == {
            "stages.0.0.conv1": {"weight_bits": 2},
            "stages.0.0.conv2": {"weight_bits": 2},
        }

    def test_a_later_rule_goes_before_an_earlier_in_what_it_says(self) -> None:
        rules = [
            LayerRule("stages.*", weight_bits=2, act_bits=3),
            LayerRule("*.conv2", weight_bits=6),
        ]
        assert resolve(rules, PATHS)["stages.0.0.conv2"] == {"weight_bits": 6, "act_bits": 3}

    def test_false_is_something_said(self) -> None:
        rules = [LayerRule("*", per_channel=True), LayerRule("fc", per_channel=False)]
        assert resolve(rules, PATHS)["fc"] == {"per_channel": False}

    @pytest.mark.parametrize(
        ("match", "near"),
        [("stages.0.0.conf1", "stages.0.0.conv1"), ("stage.1.*", "stages.1.0.conv1")],
    )
    def test_a_rule_that_matches_nothing_names_what_is_near(self, match: str, near: str) -> None:
        with pytest.raises(UsageError, match="no layer is called") as caught:
            resolve([LayerRule(match, weight_bits=2)], PATHS)
        assert near in caught.value.hint


class TestParse:
    def test_a_rule_of_a_command_line(self) -> None:
        assert parse_rule("stages.2.*=weight_bits:8,act_bits:2") == LayerRule(
            "stages.2.*", weight_bits=8, act_bits=2
        )
        assert parse_rule("fc=weights:max-abs,per_channel:false") == LayerRule(
            "fc", weights="max-abs", per_channel=False
        )

    @pytest.mark.parametrize(
        "text",
        [
            "fc",
            "fc=",
            "fc=weight_bits",
            "fc=bits:4",
            "=weight_bits:4",
            "fc=weight_bits:x",
            "fc=per_channel:1",
        ],
    )
    def test_what_cannot_be_read_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_rule(text)


@pytest.mark.parametrize(
    "content",
    [
        {"match": "fc"},
        {"weight_bits": 4},
        {"match": "fc", "weight_bits": 9},
        {"match": "fc", "weight_bits": "4"},
        {"match": "fc", "bits": 4},
        {"match": "fc", "per_channel": 1},
        {"match": 3, "weight_bits": 4},
        {"match": "fc", "weights": 4},
    ],
)
def test_a_table_that_is_no_rule_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LayerRule.from_dict(content)


def test_a_layer_kept_in_float_has_nothing_else_said_about_it() -> None:
    assert parse_rule("fc=keep_float:true") == LayerRule("fc", keep_float=True)
    assert LayerRule("fc", keep_float=True).changes() == {"keep_float": True}
    with pytest.raises(UsageError, match="keeps them in float and says more"):
        LayerRule("fc", weight_bits=4, keep_float=True)
    with pytest.raises(UsageError, match="write true or false"):
        parse_rule("fc=keep_float:1")
