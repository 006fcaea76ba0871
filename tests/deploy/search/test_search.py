"""A search on digits: what it finds is within the limit, in the file and in the scheme."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from tests.support.models.onnx_models import FOUR_LAYERS, four_layers

import edgeq
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.search.network import SearchNetwork
from edgeq.calibration.search.precision import EIGHT, FLOAT, Precision, parse
from edgeq.data import load, normalize
from edgeq.deploy.cli import run
from edgeq.deploy.search import costs
from edgeq.deploy.search.costs import Cost, parse_budget
from edgeq.deploy.search.judge import NetworkJudge, judged_parts
from edgeq.deploy.search.run import STRATEGIES, SearchOptions, on_device, search, usual
from edgeq.errors import UnknownName, UsageError
from edgeq.formats.onnx_io import serialize
from edgeq.network.layer_rules import LayerRule, parse_rule
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq
from edgeq.targets.devices import find
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.deploy.search.result import SearchResult

DIGITS = load("digits")
EIGHTS = dict.fromkeys(FOUR_LAYERS, EIGHT)
QUICK = SearchOptions(
    precisions=(Precision(4, 8), EIGHT, FLOAT), strategy="path", samples=32, eval_samples=96
)
SMALL = ["--data", "digits", "--samples", "32", "--eval-samples", "96", "--strategy", "path"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_layers(tmp_path_factory.mktemp("float") / "float.onnx")


@pytest.fixture(scope="module")
def found(network: Path) -> SearchResult:
    """The least bytes that lose two points at most."""
    path = network.parent / "found.onnx"
    config = CalibrationConfig("mse", "mse", methods=("bias-correction",), method_samples=64)
    return search(network, DIGITS, path, config, replace(QUICK, max_drop=2.0))


@pytest.fixture(scope="module")
def made(network: Path) -> SearchNetwork:
    return SearchNetwork(ir.load(network), lambda: [_images()], CalibrationConfig())


def widths(path: Path) -> dict[str, int]:
    """The largest magnitude of each layer's integers, as a width; layers in float have none."""
    graph = read_qdq(ir.load(path), float_fallback=True)
    weights = {op.name: op.inputs[1] for op in graph.ops if op.op_type in ("Conv", "Gemm")}
    return {
        name: int(abs(weight.values.astype(int)).max()).bit_length() + 1
        for name, weight in weights.items()
        if isinstance(weight, QdqConstant) and weight.values.dtype == np.int8
    }


def test_what_is_found_is_within_the_loss_and_smaller(found: SearchResult) -> None:
    assert found.best is not None
    assert found.eight is not None
    assert found.float_trial.score - found.best.figures.score <= 2.0
    assert found.best.figures.cost < found.eight.figures.cost
    assert any(trial.figures.cost <= found.best.figures.cost for trial in found.pareto())
    assert found.score is not None
    assert found.score.interval is not None
    assert (found.searched_on, found.score.samples) == (96, 360)


def test_the_file_has_the_widths_that_were_chosen(found: SearchResult) -> None:
    assert found.path is not None
    chosen = {each.layer: each.precision.weight_bits for each in found.chosen}
    assert widths(found.path) == chosen
    assert "path" in ir.load(found.path).metadata_props["precision_search"]
    done = edgeq.export(found.path, path=found.path.with_suffix(".tflite"))
    assert done.parity.different == ()


def test_the_scheme_is_one_that_training_takes(found: SearchResult) -> None:
    content = tomllib.loads(found.scheme)
    scheme = Scheme.from_dict(content["scheme"])
    assert Recipe.from_dict({"model": "resnet8", "data": "digits", **content}).scheme == scheme
    said = {rule.match: rule.weight_bits for rule in scheme.layers}
    assert said == {
        each.layer: each.precision.weight_bits
        for each in found.chosen
        if each.precision.weight_bits != 8
    }
    assert [each.layer for each in found.chosen] == [*FOUR_LAYERS]
    assert [parse_rule(flag) for flag in found.flags] == [*scheme.layers]


def test_calibration_by_the_scheme_gives_the_same_file_but_for_its_notes(
    found: SearchResult, network: Path, tmp_path: Path
) -> None:
    """With the observer, the methods and the samples of the search, which the scheme says."""
    path = tmp_path / "calibrated.onnx"
    assert found.path is not None
    recipe = found.path.with_suffix(".scheme.toml")
    assert recipe.read_text() == found.scheme
    asked = ["--data", "digits", "--recipe", str(recipe), "-o", str(path), "--held-back", "0"]
    assert run(["calibrate", str(network), *asked]) == 0
    models = [ir.load(each) for each in (found.path, path)]
    for model in models:
        model.metadata_props.clear()
    assert serialize(models[0]) == serialize(models[1])


def test_of_data_of_one_part_a_search_and_a_calibration_set_the_same_samples_aside(
    network: Path, tmp_path: Path
) -> None:
    part = DIGITS.test.take(np.arange(120))
    np.savez(tmp_path / "part.npz", x=np.asarray(part.images), y=np.asarray(part.labels))
    searched, again = tmp_path / "searched.onnx", tmp_path / "again.onnx"
    data = ["--data", str(tmp_path / "part.npz"), "--scale", "1/255"]
    asked = ["--samples", "16", "--strategy", "path", "--max-drop", "50", "-o", str(searched)]
    assert run(["search", str(network), *data, *asked]) == 0
    recipe = str(searched.with_suffix(".scheme.toml"))
    asked = ["--recipe", recipe, "--held-back", "0", "-o", str(again)]
    assert run(["calibrate", str(network), *data, *asked]) == 0
    models = [ir.load(each) for each in (searched, again)]
    notes = [model.metadata_props["edgeq_set_aside"] for model in models]
    assert notes[0] == notes[1]
    for model in models:
        model.metadata_props.clear()
    assert serialize(models[0]) == serialize(models[1])


def test_each_layer_is_looked_at_with_all_others_in_float(found: SearchResult) -> None:
    by = {(each.layer, each.precision): each.sqnr_db for each in found.sensitivities}
    assert {name for name, _ in by} == {*FOUR_LAYERS}
    for layer in FOUR_LAYERS:
        assert by[layer, "w8a8"] > by[layer, "w4a8"] + 10  # 6 dB a bit, from which 4 are taken
    assert found.eight is not None
    assert found.eight.figures.sqnr_db < min(by[layer, "w8a8"] for layer in FOUR_LAYERS)


def test_layers_in_float_are_float_in_the_file(network: Path, tmp_path: Path) -> None:
    options = replace(QUICK, precisions=(Precision(3, 8), FLOAT), trials=12)
    kept = search(
        network,
        DIGITS,
        tmp_path / "kept.onnx",
        CalibrationConfig(),
        replace(options, strategy="keep-float", max_drop=5.0),
    )
    assert kept.best is not None
    floats = {name for name, each in kept.best.precisions.items() if each.is_float}
    assert 0 < len(floats) < len(FOUR_LAYERS)
    assert kept.path is not None
    assert {*widths(kept.path)} == {*FOUR_LAYERS} - floats
    assert kept.scheme.count("keep_float = true") == len(floats)
    order = sorted(kept.sensitivities, key=lambda each: each.sqnr_db)
    assert floats == {each.layer for each in order[: len(floats)]}


def test_channels_of_different_widths_are_in_the_file(made: SearchNetwork) -> None:
    bits = (2, 3, 4, 5) * 4
    precisions = {**EIGHTS, "stem": Precision(5, 8, bits)}
    (stem,) = (op for op in read_qdq(made.quantized(precisions)).ops if op.name == "stem")
    weight = stem.inputs[1]
    assert isinstance(weight, QdqConstant)
    most = abs(weight.values.astype(int)).reshape(len(bits), -1).max(axis=1)
    assert tuple(int(value).bit_length() + 1 for value in most) == bits


def test_channels_of_different_widths_need_a_scale_each(network: Path) -> None:
    plain = SearchNetwork(
        ir.load(network), lambda: [_images()], CalibrationConfig(per_channel=False)
    )
    with pytest.raises(UsageError, match="a scale for each"):
        plain.quantized({**EIGHTS, "stem": Precision(5, 8, (5,) * 16)})


def test_bits_are_taken_away_by_neuron(network: Path) -> None:
    options = replace(QUICK, max_drop=50.0, strategy="neuron", trials=18, eval_samples=16)
    fine = search(network, DIGITS, None, CalibrationConfig(), options)
    assert fine.best is not None
    assert fine.best.step in ("network", "layer", "neuron")
    assert fine.sensitivities == ()


def test_float_layers_and_16_bits_by_a_rule(network: Path, tmp_path: Path) -> None:
    path = tmp_path / "made.onnx"
    rules = ["--layer", "stem=keep_float:true", "--layer", "pointwise=act_bits:16"]
    asked = ["--data", "digits", "--samples", "16", *rules, "-o", str(path)]
    assert run(["calibrate", str(network), *asked]) == 0
    assert {*widths(path)} == {*FOUR_LAYERS} - {"stem"}
    done = edgeq.export(
        path, path=tmp_path / "made.tflite", options=edgeq.ExportOptions(allow_float=True)
    )
    assert done.in_float is not None
    assert any("stem" in each for each in done.in_float.operators)


def test_wide_activations_cost_work_and_gain_decibels(made: SearchNetwork) -> None:
    judge = NetworkJudge(DIGITS, DIGITS.validation.take(np.arange(32)), made.runs(None))
    wide = {**EIGHTS, "classifier": Precision(8, 16)}
    eight, wider = (judge(made.runs(made.quantized(each))).sqnr_db for each in (EIGHTS, wide))
    assert wider > eight
    work = Cost("macs")
    eights = made.quantized(EIGHTS)
    assert work.of(made.layers, wide, eights) > work.of(made.layers, EIGHTS, eights)


def test_training_keeps_a_layer_in_float(tmp_path: Path) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    )
    scheme = edgeq.Scheme(layers=(LayerRule("0", keep_float=True),))
    images = torch.from_numpy(_images())
    model = edgeq.quantize(network, scheme, images).train()
    model(images)
    options = edgeq.ExportOptions(allow_float=True)
    done = edgeq.export(model.eval(), images[:1], tmp_path / "net.tflite", options=options)
    assert done.in_float is not None
    assert done.in_float.macs == 36 * 4 * 9


def test_a_budget_is_kept(network: Path) -> None:
    options = replace(QUICK, budget=parse_budget("macs=70%"))
    found = search(network, DIGITS, None, CalibrationConfig(), options)
    assert found.best is not None
    assert found.eight is not None
    assert found.best.figures.cost <= 0.7 * found.eight.figures.cost
    assert found.path is None


def test_a_search_goes_on_where_it_was_stopped(network: Path, tmp_path: Path) -> None:
    path = tmp_path / "made.onnx"
    options = replace(QUICK, max_drop=2.0, precisions=(Precision(4, 8), EIGHT), trials=3)
    first = search(network, DIGITS, path, CalibrationConfig(), options)
    again = search(
        network,
        DIGITS,
        path,
        CalibrationConfig(),
        replace(options, resume=True),
        overwrite=True,
    )
    assert (first.reused, again.reused) == (0, len(first.trials) + len(first.sensitivities))
    assert again.best == first.best
    with pytest.raises(UsageError, match="of another search: samples differs"):
        search(
            network,
            DIGITS,
            path,
            CalibrationConfig(),
            replace(options, resume=True, samples=16),
            overwrite=True,
        )
    path.with_suffix(".trials.json").write_text("{}")
    with pytest.raises(UsageError, match="holds no trials"):
        search(
            network,
            DIGITS,
            path,
            CalibrationConfig(),
            replace(options, resume=True),
            overwrite=True,
        )


def test_the_command_shows_sensitivities_and_says_what_is_next(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", str(network), *SMALL, "--precisions", "w4a8,w8a8"]) == 0
    shown = capsys.readouterr()
    assert "w4a8 loss" in shown.out
    assert all(layer in shown.out for layer in FOUR_LAYERS)
    asked = shlex.join(["edgeq", "search", str(network), *SMALL, "--precisions", "w4a8,w8a8"])
    assert shown.out.splitlines()[-1] == f"next: {asked} --max-drop 0.5"
    assert "float: top-1 accuracy" in shown.err


def test_the_command_ends_with_1_where_nothing_is_within_the_limit(
    network: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    asked = [network, *SMALL, "--max-drop", 0, "--precisions", "w2a2", "-o", tmp_path / "x.onnx"]
    said = refusal("search", *asked, code=1)
    assert "none of 1 trial is within a loss of at most 0" in said
    assert not (tmp_path / "x.onnx").exists()


def test_the_command_ends_with_1_where_unseen_samples_lose_more(
    network: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    path = tmp_path / "x.onnx"
    few = [*SMALL, "--eval-samples", 2, "--precisions", "w2a4,w3a4", "--method", "bias-correction"]
    said = refusal("search", network, *few, "--max-drop", 1, "-o", path, code=1)
    assert "on samples that no trial has seen it loses" in said
    assert path.exists()


def test_methods_of_a_recipe_run_in_each_trial(network: Path, made: SearchNetwork) -> None:
    config = CalibrationConfig(methods=("equalize", "bias-correction"))
    better = SearchNetwork(ir.load(network), lambda: [_images()], config)
    mixed = {**dict.fromkeys(FOUR_LAYERS, Precision(3, 8)), "stem": FLOAT}
    judge = NetworkJudge(DIGITS, DIGITS.train.take(np.arange(8)), made.runs(None))
    plain, corrected = (judge(each.runs(each.quantized(mixed))).sqnr_db for each in (made, better))
    assert corrected > plain


def test_the_command_writes_json(network: Path, tmp_path: Path, answer: Callable[..., Any]) -> None:
    path = tmp_path / "made.onnx"
    asked = ("--budget", "bytes=60%", "--trials", 3, "-o", path, "--precisions", "w4a8,w8a8")
    found = answer("search", network, *SMALL, *asked)
    assert found["path"] == str(path)
    assert found["best"]["figures"]["cost"] <= 0.6 * found["eight"]["figures"]["cost"]
    assert "[scheme]" in found["scheme"]
    assert found["best"]["number"] in found["pareto"]
    assert len(found["sensitivities"]) == 2 * len(FOUR_LAYERS)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--max-drop", "1", "--budget", "macs=50%"], "two searches"),
        (["--budget", "watts=1"], "cannot be read"),
        (["--budget", "bytes=0"], "cannot be read"),
        (["--budget", "macs=1", "--strategy", "layer"], "needs a loss"),
        (["--max-drop", "-1"], "cannot be"),
        (["--strategy", "guess"], "no strategy is called 'guess'"),
        (["--precisions", "int4"], "is no precision"),
        (["--cost", "joules"], "no cost is called"),
        (["--max-drop", "1", "--cost", "latency"], "taken on a target"),
        (["--max-drop", "1", "--target", "ort-cpu"], "means nothing where the cost is bytes"),
        (["--device", "stm32"], "no device is called"),
        (["--resume"], "no trials to go on with"),
        (["-o", "found.tflite"], "does not end in .onnx"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    network: Path, flags: list[str], told: str, refusal: Callable[..., str]
) -> None:
    given = [
        flag for flag in SMALL if "--strategy" not in flags or flag not in ("--strategy", "path")
    ]
    assert told in refusal("search", network, *given, *flags)


def test_nothing_that_is_there_is_written_over(
    network: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "made.scheme.toml").write_text("mine")
    asked = [*SMALL, "--max-drop", 1, "-o", tmp_path / "made.onnx"]
    assert "made.scheme.toml" in refusal("search", network, *asked)
    assert (tmp_path / "made.scheme.toml").read_text() == "mine"


def test_without_labels_a_budget_goes_by_noise(network: Path) -> None:
    bare = replace(DIGITS, validation=replace(DIGITS.validation, labels=None))
    with pytest.raises(UsageError, match="no labels"):
        search(network, bare, None, CalibrationConfig(), replace(QUICK, max_drop=1.0))
    options = replace(QUICK, budget=parse_budget("bytes=80%"))
    found = search(network, bare, None, CalibrationConfig(), options)
    assert found.best is not None
    assert found.best.figures.score == pytest.approx(found.best.figures.sqnr_db)


def test_data_without_validation_are_divided() -> None:
    bare = replace(DIGITS, validation=DIGITS.validation.take(DIGITS.validation.ids[:0] * 0))
    searched, reported = judged_parts(bare, 1000)
    assert len(searched) + len(reported) == len(DIGITS.test)
    assert not {*searched.ids} & {*reported.ids}


def test_latency_and_cycles_are_of_a_file_on_a_target(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, str]] = []

    class Told:
        facts = MappingProxyType({"cycles": "1,234.0"})

    def profiled(model: ir.Model, target: str) -> Any:
        seen.append((isinstance(model, ir.Model), target))
        return Told()

    monkeypatch.setattr(costs, "_profiled", profiled)
    options = replace(QUICK, max_drop=5.0, cost="cycles", target="ethos-u55", trials=3)
    found = search(network, DIGITS, None, CalibrationConfig(), options)
    assert found.best is not None
    assert found.best.figures.cost == 1234.0
    assert {*seen} == {(True, "ethos-u55")}


def test_a_target_measures_what_is_searched(made: SearchNetwork) -> None:
    cost = Cost("latency", "ort-cpu-ref").of(made.layers, EIGHTS, made.quantized(EIGHTS))
    assert 0 < cost < 100


def _images() -> Any:
    return normalize(DIGITS.train.images[:8], DIGITS)


def test_devices_say_what_gains_something() -> None:
    assert [each.name for each in usual(find("ethos-u55"))] == ["w4a8", "w8a8", "w8a16", "float"]
    assert [each.name for each in usual(find("stm32mp25"))] == ["w8a8", "float"]
    asked = on_device(SearchOptions(max_drop=1.0, cost="cycles"), find("ethos-u55"))
    assert asked.target == "ethos-u55"
    assert on_device(SearchOptions(max_drop=1.0), find("ethos-u55")).target == ""
    with pytest.raises(UnknownName):
        SearchOptions(strategy="x")
    assert "optuna" in STRATEGIES
    assert parse("w4a8") == Precision(4, 8)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("bytes=200k", 2e5), ("macs=60%", 600.0), ("latency=2.5", 2.5), ("cycles=1.5M", 1.5e6)],
)
def test_budgets(text: str, limit: float) -> None:
    assert parse_budget(text).limit(1000.0) == pytest.approx(limit)
