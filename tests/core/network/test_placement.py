"""The rules that say where quantisers stand, on graphs small enough to check by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeq.network.placement import (
    FirstLast,
    LayerWidths,
    Op,
    Placement,
    PlacementName,
    inside_operators,
    place,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def residual() -> list[Op]:
    """``relu(layer(relu(layer(x))) + x)`` between a stem and a classifier."""
    return [
        Op("image", "input"),
        Op("stem", "layer", ("image",)),
        Op("stem_relu", "relu", ("stem",)),
        Op("first", "layer", ("stem_relu",)),
        Op("first_relu", "relu", ("first",)),
        Op("second", "layer", ("first_relu",)),
        Op("sum", "add", ("second", "stem_relu")),
        Op("sum_relu", "relu", ("sum",)),
        Op("pool", "pool", ("sum_relu",)),
        Op("flat", "data_movement", ("pool",)),
        Op("logits", "layer", ("flat",)),
    ]


def growing() -> list[Op]:
    """A stable block that appends channels of its input and pools, followed by another layer."""
    return [
        Op("image", "input"),
        Op("stem", "layer", ("image",)),
        Op("x", "relu", ("stem",)),
        Op("k", "layer", ("x",)),
        Op("u", "relu", ("k",)),
        Op("kt", "layer", ("u",)),
        Op("sum", "add", ("x", "kt")),
        Op("y", "relu", ("sum",)),
        Op("part", "data_movement", ("x",)),
        Op("joined", "concat", ("y", "part")),
        Op("pooled", "pool", ("joined",)),
        Op("next", "layer", ("pooled",)),
        Op("next_relu", "relu", ("next",)),
        Op("gap", "pool", ("next_relu",)),
        Op("logits", "layer", ("gap",)),
    ]


def integer(
    ops: list[Op], act_bits: int = 4, weight_bits: int = 4, boundary_bits: int = 8
) -> Placement:
    return place(
        ops,
        placement="integer",
        weight_bits=weight_bits,
        act_bits=act_bits,
        boundary_bits=boundary_bits,
    )


def grid(placement: Placement, tensor: str) -> tuple[int, bool]:
    """Width and sign of a tensor's grid."""
    spec = placement.grids[placement.tensors[tensor]]
    return spec.bits, spec.signed


class TestResidual:
    def test_every_stored_tensor_has_a_grid_and_nothing_stands_before_a_relu(self) -> None:
        placement = integer(residual())
        assert set(placement.tensors) == {
            "image",
            "stem_relu",
            "first_relu",
            "second",
            "sum_relu",
            "pool",
            "logits",
        }

    def test_widths_and_signs(self) -> None:
        placement = integer(residual())
        assert grid(placement, "image") == (8, True)
        assert grid(placement, "stem_relu") == (4, False)
        assert grid(placement, "first_relu") == (4, False)
        assert grid(placement, "second") == (8, True), "a residual branch is not read by a layer"
        assert grid(placement, "sum_relu") == (8, False), "only a pool reads it"
        assert grid(placement, "logits") == (8, True)

    def test_a_pool_stays_on_the_grid_of_what_it_reads(self) -> None:
        placement = integer(residual())
        assert placement.tensors["pool"] == placement.tensors["sum_relu"] == "sum_relu"
        assert placement.edges == {}

    def test_first_and_last_layer_keep_the_edge_width(self) -> None:
        assert integer(residual()).layers == {"stem": 8, "first": 4, "second": 4, "logits": 8}
        assert integer(residual(), weight_bits=2, boundary_bits=6).layers == {
            "stem": 6,
            "first": 2,
            "second": 2,
            "logits": 6,
        }

    def test_a_sum_that_feeds_an_inner_layer_lands_on_its_grid(self) -> None:
        ops = residual()[:-3]
        ops += [
            Op("third", "layer", ("sum_relu",)),
            Op("gap", "pool", ("third",)),
            Op("logits", "layer", ("gap",)),
        ]
        assert grid(integer(ops), "sum_relu") == (4, False)

    def test_the_sum_without_a_relu_is_signed(self) -> None:
        ops = [op for op in residual() if op.name != "sum_relu"]
        ops[ops.index(Op("pool", "pool", ("sum_relu",)))] = Op("pool", "pool", ("sum",))
        placement = integer(ops)
        assert grid(placement, "sum") == (8, True)
        assert grid(placement, "pool") == (8, True)


class TestGrowingStableBlock:
    def test_at_four_bits_tensors_are_brought_onto_the_joined_grid_and_off_it(self) -> None:
        placement = integer(growing(), act_bits=4)
        assert grid(placement, "x") == (4, False)
        assert grid(placement, "joined") == (8, False)
        assert (
            placement.tensors["y"]
            == placement.tensors["joined"]
            == placement.tensors["pooled"]
            == "y"
        )
        assert placement.edges == {("joined", 1): "y", ("next", 0): "pooled_narrowed"}
        narrowed = placement.grids["pooled_narrowed"]
        assert (narrowed.bits, narrowed.signed, narrowed.inner) == (4, False, True)

    def test_at_eight_bits_one_grid_serves_all(self) -> None:
        placement = integer(growing(), act_bits=8)
        assert placement.edges == {}
        assert {placement.tensors[name] for name in ("x", "y", "joined", "pooled")} == {"x"}
        assert placement.grids["x"].inner
        assert grid(placement, "x") == (8, False)

    def test_a_shared_grid_is_signed_as_soon_as_one_member_is(self) -> None:
        ops = growing()
        ops[ops.index(Op("y", "relu", ("sum",)))] = Op("y", "data_movement", ("sum",))
        assert grid(integer(ops, act_bits=8), "joined") == (8, True)

    def test_every_edge_and_tensor_names_a_grid(self) -> None:
        for bits in (2, 4, 7, 8):
            placement = integer(growing(), act_bits=bits)
            assert {*placement.tensors.values(), *placement.edges.values()} == set(placement.grids)


def test_a_padded_shortcut_stays_on_the_grid_of_what_it_reads() -> None:
    ops = [
        Op("image", "input"),
        Op("stem", "layer", ("image",)),
        Op("x", "relu", ("stem",)),
        Op("k", "layer", ("x",)),
        Op("slice", "data_movement", ("x",)),
        Op("pad", "data_movement", ("slice",)),
        Op("sum", "add", ("k", "pad")),
        Op("y", "relu", ("sum",)),
        Op("logits", "layer", ("y",)),
    ]
    placement = integer(ops)
    assert not {"slice", "pad"} & set(placement.tensors)
    assert placement.edges == {}
    assert grid(placement, "x") == (4, False)
    assert grid(placement, "y") == (8, False), (
        "the last layer reads it, and that has the edge width"
    )


def test_a_linear_bottleneck_is_signed_where_the_inner_layers_read_it() -> None:
    ops = [
        Op("image", "input"),
        Op("stem", "layer", ("image",)),
        Op("stem_relu", "relu", ("stem",)),
        Op("project", "layer", ("stem_relu",)),
        Op("expand", "layer", ("project",)),
        Op("expand_relu", "relu", ("expand",)),
        Op("depthwise", "layer", ("expand_relu",)),
        Op("depthwise_relu", "relu", ("depthwise",)),
        Op("project2", "layer", ("depthwise_relu",)),
        Op("sum", "add", ("project", "project2")),
        Op("head", "layer", ("sum",)),
        Op("logits", "layer", ("head",)),
    ]
    placement = integer(ops)
    assert grid(placement, "project") == (4, True)
    assert grid(placement, "sum") == (4, True)
    assert grid(placement, "expand_relu") == (4, False)
    assert grid(placement, "project2") == (8, True)


class TestPaper:
    def test_only_inputs_of_inner_layers_are_quantised(self) -> None:
        placement = place(residual(), placement="paper", weight_bits=4, act_bits=4)
        assert set(placement.tensors) == {"stem_relu", "first_relu"}
        assert placement.layers == {"first": 4, "second": 4}
        assert all(
            spec == (4, False)
            for spec in ((grid.bits, grid.signed) for grid in placement.grids.values())
        )

    def test_a_pool_before_an_inner_layer_is_narrow_at_once(self) -> None:
        placement = place(growing(), placement="paper", weight_bits=4, act_bits=4)
        assert set(placement.tensors) == {"x", "u", "pooled"}
        assert grid(placement, "pooled") == (4, False)
        assert placement.edges == {}

    def test_layers_with_nothing_between_them_are_one_operator(self) -> None:
        """The published block of MobileNetV2: a quantiser at its input and behind its ReLU."""
        ops = [
            Op("image", "input"),
            Op("x", "layer", ("image",)),
            Op("k1", "layer", ("x",), bare=True),
            Op("k2", "layer", ("k1",)),
            Op("u", "relu", ("k2",)),
            Op("k2_adjoint", "layer", ("u",), shares="k2", bare=True),
            Op("k1_adjoint", "layer", ("k2_adjoint",), shares="k1"),
            Op("sum", "add", ("x", "k1_adjoint")),
            Op("logits", "layer", ("sum",), bare=True),
        ]
        placement = place(ops, placement="paper", weight_bits=4, act_bits=4)
        assert set(placement.tensors) == {"x", "u"}
        assert placement.layers.keys() == {"k1", "k2", "k2_adjoint", "k1_adjoint"}
        assert inside_operators(ops) == {"k1": "k2", "k2_adjoint": "k1_adjoint"}
        assert {"k1", "k2_adjoint"} <= set(integer(ops).tensors)


def test_a_tensor_read_by_relu_and_another_is_stored_before_and_after() -> None:
    ops = [
        Op("image", "input"),
        Op("stem", "layer", ("image",)),
        Op("relu", "relu", ("stem",)),
        Op("k", "layer", ("relu",)),
        Op("sum", "add", ("k", "stem")),
        Op("logits", "layer", ("sum",)),
    ]
    placement = integer(ops)
    assert {"stem", "relu"} <= set(placement.tensors)
    assert grid(placement, "stem") == (8, True)


@pytest.mark.parametrize("placement", ["integer", "paper"])
def test_the_smallest_networks(placement: PlacementName) -> None:
    one = place(
        [Op("x", "input"), Op("logits", "layer", ("x",))],
        placement=placement,
        weight_bits=4,
        act_bits=4,
    )
    assert one.layers == ({"logits": 8} if placement == "integer" else {})
    none = place([Op("x", "input")], placement=placement, weight_bits=4, act_bits=4)
    assert none.layers == {}


class TestMixedWidths:
    def fork(self) -> list[Op]:
        """Two inner layers that read one tensor, as a residual branch and its projection do."""
        return [
            Op("image", "input"),
            Op("stem", "layer", ("image",)),
            Op("x", "relu", ("stem",)),
            Op("branch", "layer", ("x",)),
            Op("shortcut", "layer", ("x",)),
            Op("sum", "add", ("branch", "shortcut")),
            Op("logits", "layer", ("sum",)),
        ]

    def mixed(self, **widths: LayerWidths) -> Placement:
        return place(self.fork(), placement="integer", weight_bits=4, act_bits=4, overrides=widths)

    def test_weights_have_the_width_of_their_own_layer(self) -> None:
        assert self.mixed(shortcut=LayerWidths(2)).layers == {
            "stem": 8,
            "branch": 4,
            "shortcut": 2,
            "logits": 8,
        }

    def test_a_tensor_has_the_widest_and_is_narrowed_for_the_others(self) -> None:
        placement = self.mixed(shortcut=LayerWidths(act_bits=6))
        assert grid(placement, "x") == (6, False)
        assert placement.grids["x"].readers == ("shortcut",)
        assert placement.edges == {("branch", 0): "x_narrowed"}
        assert (placement.grids["x_narrowed"].bits, placement.grids["x_narrowed"].readers) == (
            4,
            ("branch",),
        )

    def test_two_narrower_widths_have_two_grids(self) -> None:
        ops = self.fork()
        ops[-1:] = [
            Op("third", "layer", ("x",)),
            Op("sum2", "add", ("sum", "third")),
            Op("logits", "layer", ("sum2",)),
        ]
        overrides = {"branch": LayerWidths(act_bits=2), "third": LayerWidths(act_bits=7)}
        placement = place(ops, placement="integer", weight_bits=4, act_bits=4, overrides=overrides)
        assert placement.edges == {
            ("branch", 0): "x_narrowed_to_2",
            ("shortcut", 0): "x_narrowed_to_4",
        }

    def test_the_first_layer_may_ask_for_less_of_the_input(self) -> None:
        assert grid(self.mixed(stem=LayerWidths(act_bits=4)), "image") == (4, True)

    def test_a_pool_has_the_widest_of_what_it_reads_and_serves(self) -> None:
        overrides = {"next": LayerWidths(act_bits=8)}
        placement = place(
            growing(),
            placement="integer",
            weight_bits=4,
            act_bits=4,
            boundary_bits=6,
            overrides=overrides,
        )
        assert grid(placement, "x") == (4, False)
        assert {grid(placement, name) for name in ("y", "joined", "pooled")} == {(8, False)}
        assert placement.edges == {("joined", 1): "y"}


class TestSigns:
    """One bit is no number.

    Whoever but a layer reads the tensor gets what it was before its sign was taken.
    """

    def test_a_sum_reads_the_number_and_the_layer_its_sign(self) -> None:
        placement = integer(residual(), act_bits=1)
        assert grid(placement, "stem_relu") == (8, False)
        sign = placement.grids[placement.edges["first", 0]]
        assert (sign.bits, sign.signed, sign.inner, sign.readers) == (1, False, True, ("first",))
        assert ("sum", 1) not in placement.edges
        assert grid(placement, "first_relu") == (1, False), "which a layer alone reads"

    def test_so_do_pools_and_joins(self) -> None:
        placement = integer(growing(), act_bits=1)
        assert grid(placement, "x") == (8, False)
        assert {edge: placement.grids[name].bits for edge, name in placement.edges.items()} == {
            ("k", 0): 1,
            ("next", 0): 1,
        }

    def test_on_paper_the_number_is_a_float(self) -> None:
        placement = place(residual(), placement="paper", weight_bits=1, act_bits=1)
        assert set(placement.tensors) == {"first_relu"}
        assert [(edge, placement.grids[name].bits) for edge, name in placement.edges.items()] == [
            (("first", 0), 1)
        ]

    @pytest.mark.parametrize("graph", [residual, growing])
    def test_nothing_but_layers_reads_a_sign(self, graph: Callable[[], list[Op]]) -> None:
        ops = graph()
        placement = integer(ops, act_bits=1)
        for op in ops:
            for index, tensor in enumerate(op.inputs):
                name = placement.edges.get((op.name, index), placement.tensors.get(tensor))
                if op.kind in ("add", "concat", "pool", "data_movement"):
                    assert name is None or placement.grids[name].bits == 8


class TestFirstAndLast:
    def at(self, first_last: FirstLast, placement: PlacementName = "integer") -> Placement:
        return place(
            residual(),
            placement=placement,
            weight_bits=4,
            act_bits=4,
            boundary_bits=8,
            first_last=first_last,
        )

    def test_inner_treats_them_like_any_layer(self) -> None:
        placement = self.at("inner")
        assert set(placement.layers.values()) == {4}
        assert grid(placement, "image") == (4, True)
        assert placement.grids[placement.edges["logits", 0]].bits == 4
        assert grid(placement, "logits") == (8, True), "no layer reads it"

    def test_float_leaves_them_with_the_input_and_the_result_in_float(self) -> None:
        placement = self.at("float")
        assert placement.layers == {"first": 4, "second": 4}
        assert set(placement.tensors) == {"stem_relu", "first_relu", "second", "sum_relu", "pool"}

    def test_the_published_quantisers_with_eight_bits_at_the_ends(self) -> None:
        placement = self.at("boundary", "paper")
        assert placement.layers == {"stem": 8, "first": 4, "second": 4, "logits": 8}
        assert set(placement.tensors) == {"image", "stem_relu", "first_relu", "pool"}
        assert grid(placement, "image") == (8, True)

    def test_each_placement_has_its_own_by_default(self) -> None:
        assert self.at("boundary") == integer(residual())
        assert self.at("float", "paper") == place(
            residual(), placement="paper", weight_bits=4, act_bits=4
        )

    def test_an_override_quantises_a_layer_that_would_stay_in_float(self) -> None:
        overrides = {"stem": LayerWidths(weight_bits=6)}
        placement = place(
            residual(), placement="paper", weight_bits=4, act_bits=4, overrides=overrides
        )
        assert placement.layers == {"stem": 6, "first": 4, "second": 4}
        assert grid(placement, "image") == (8, True)

    def test_they_are_named(self) -> None:
        assert self.at("inner").ends == {"stem", "logits"}

    def test_a_layer_on_the_weights_of_the_first_is_an_end_too(self) -> None:
        ops = (
            Op("left", "input"),
            Op("right", "input"),
            Op("stem", "layer", ("left",)),
            Op("stem_call2", "layer", ("right",), shares="stem"),
            Op("difference", "function", ("stem", "stem_call2")),
            Op("inner", "layer", ("difference",)),
            Op("logits", "layer", ("inner",)),
        )
        placement = place(ops, placement="integer", weight_bits=4, act_bits=4)
        assert placement.layers == {"stem": 8, "stem_call2": 8, "inner": 4, "logits": 8}


class TestFunctionsAndProducts:
    OPS = (
        Op("input", "input"),
        Op("first", "layer", ("input",)),
        Op("swish", "function", ("first",)),
        Op("mean", "pool", ("swish",)),
        Op("reduce", "layer", ("mean",)),
        Op("gate", "function", ("reduce",), not_negative=True),
        Op("gated", "mul", ("swish", "gate")),
        Op("norm", "norm", ("gated",)),
        Op("relu", "relu", ("norm",)),
        Op("inner", "layer", ("relu",)),
        Op("last", "layer", ("inner",)),
    )

    def test_each_has_a_grid_of_its_own_and_a_norm_none_before_its_relu(self) -> None:
        placement = place(self.OPS, placement="integer", weight_bits=4, act_bits=4)
        assert "norm" not in placement.tensors
        assert placement.tensors["swish"] == placement.tensors["mean"], "pooling shares its input's"
        assert (
            len(
                {
                    placement.tensors[name]
                    for name in ("first", "swish", "reduce", "gate", "gated", "relu")
                }
            )
            == 6
        )

    def test_widths_and_signs(self) -> None:
        placement = place(self.OPS, placement="integer", weight_bits=4, act_bits=4)
        specs = {name: placement.grids[grid] for name, grid in placement.tensors.items()}
        assert (specs["swish"].bits, specs["swish"].signed) == (8, True)
        assert (specs["gate"].bits, specs["gate"].signed) == (8, False)
        assert (specs["gated"].bits, specs["gated"].signed) == (8, True)
        assert (specs["relu"].bits, specs["relu"].signed) == (4, False)

    def test_a_norm_is_no_layer(self) -> None:
        placement = place(self.OPS, placement="integer", weight_bits=4, act_bits=4)
        assert set(placement.layers) == {"first", "reduce", "inner", "last"}

    def test_the_published_placement_leaves_them_in_float(self) -> None:
        placement = place(self.OPS, placement="paper", weight_bits=4, act_bits=4)
        assert set(placement.tensors) == {"mean", "relu"}


def test_what_has_no_wider_kernel_reads_and_writes_narrow_grids() -> None:
    ops = [
        Op("image", "input"),
        Op("stem", "layer", ("image",)),
        Op("shares", "function", ("stem",), not_negative=True, max_bits=8),
        Op("both", "mul", ("shares", "stem")),
        Op("logits", "layer", ("both",)),
    ]
    made = integer(ops, act_bits=16, weight_bits=8, boundary_bits=16)
    bits = {name: made.grids[grid].bits for name, grid in made.tensors.items()}
    assert bits == {"image": 16, "stem": 16, "shares": 8, "both": 16, "logits": 16}
    assert [(edge, made.grids[grid].bits) for edge, grid in made.edges.items()] == [
        (("shares", 0), 8)
    ]
