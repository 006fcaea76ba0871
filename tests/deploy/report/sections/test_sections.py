"""What single parts of the page show and leave out."""

from __future__ import annotations

from tests.support.report.documents import PICTURE, comparison, every_kind, made, profile

from edgeq.deploy.report.findings import judge
from edgeq.deploy.report.sections import (
    accuracy,
    drift,
    flips,
    generic,
    headline,
    judgements,
    tradeoff,
)


def test_the_front_is_what_nothing_else_beats() -> None:
    points = [("a", 1.0, 90.0), ("b", 2.0, 89.0), ("c", 3.0, 95.0), ("d", 3.0, 94.0)]
    assert [name for name, _, _ in tradeoff.front(points)] == ["a", "c"]


def test_latency_is_traded_only_where_it_is_trusted() -> None:
    times = [
        profile(artefact, target, 1.0 + n, trusted=n < 2)
        for n, (artefact, target) in enumerate(
            [("net.onnx", "ort-cpu"), ("net.tflite", "tflite"), ("net.tflite", "tflite-ref")]
        )
    ]
    documents = [
        made("compare", "x", {"comparison": comparison(2)}),
        made("profile", "p", {"profiles": times}),
    ]
    drawn = tradeoff.section(documents)
    assert "Accuracy against latency, on 2000 samples of cifar10" in drawn
    chart = drawn.partition("Accuracy against size")[0]
    assert "net.tflite @ tflite-ref" not in chart


def test_changed_samples_are_pictures_with_all_three_names() -> None:
    drawn = flips.section(every_kind())
    assert drawn.count(f'src="{PICTURE}"') >= 2
    assert "<span>is cat</span><span>was cat</span><span>now dog</span>" in drawn
    assert "9 answers changed by net.tflite @ tflite" in drawn


def test_without_pictures_the_samples_are_listed() -> None:
    drawn = flips.section([made("compare", "x", {"comparison": comparison(2)})])
    assert "Samples 7, 20, 33" in drawn
    assert "<img" not in drawn


def test_layers_have_histograms_and_equal_steps_one_line() -> None:
    drawn = drift.section([made("compare", "x", {"comparison": comparison(4)})])
    assert "4 of 4 layers differ" in drawn
    assert "0 of 4 layers differ" in drawn
    assert "every layer is equal" in drawn
    assert 'class="small"' in drawn


def test_accuracy_has_the_light_of_its_stage() -> None:
    documents = [made("compare", "x", {"comparison": comparison(2, lost=200)})]
    drawn = accuracy.section(documents, judge(documents))
    assert drawn.count('class="cross bad"') == 2


def test_any_document_can_be_shown() -> None:
    content = {
        "schema": "edgeq.x/1",
        "equal": False,
        "n": 1234,
        "list": [1, 2],
        "deep": {"rows": [{"a_b": None, "c": 1.5}]},
    }
    drawn = generic.section([made("x", "label", content)])
    for shown in ("label: x", "<dd>no</dd>", "1,234", "<dd>1, 2</dd>", ">c<", "1.5"):
        assert shown in drawn
    assert "schema" not in drawn


def test_a_demo_shows_its_networks() -> None:
    rows = [
        {
            "model": "net",
            "scheme": "4W/4A",
            "parameters": 100,
            "accuracy": {"torch": {"correct": 9, "total": 10}},
            "activation_rmse": 0.25,
            "sqnr_db": 20.0,
            "size_bytes": {"onnx": 1500},
        }
    ]
    points = [{"tensor": f"t{n}", "rmse": 0.1 + n} for n in range(3)]
    curves = [{"model": "net", "scheme": "4W/4A", "stable": True, "points": points}]
    report = {"rows": rows, "curves": curves, "notes": ["left out: tflm"]}
    drawn = headline.section([made("demo", "d", {"report": report})])
    for shown in ("net 4W/4A", "90.0", "0.25", "1.5", "left out: tflm", "2.1"):
        assert shown in drawn


def test_stages_that_changed_the_same_answers_share_their_pictures() -> None:
    stages = [{"artefact": "a", "target": name, "changed": 2, "flipped": [1, 4]} for name in "xyz"]
    said = {f"a @ {name}": {1: "cat", 4: "owl" if name == "z" else "dog"} for name in "xyz"}
    doc = made("compare", "", {"comparison": {"stages": stages}}, answers=said)
    drawn = flips.section([doc])
    assert drawn.count("<h3>") == 2
    assert "2 answers changed alike by a @ x, a @ y" in drawn
    assert "2 answers changed by a @ z" in drawn


def test_a_diff_names_what_differs_in_words() -> None:
    found = {
        "first": "a.onnx",
        "second": "b.onnx",
        "layers": 8,
        "grids": 20,
        "differences": [
            {"where": "b/Conv", "kind": "weights", "detail": "1 of 9 integers differs"}
        ],
    }
    drawn = judgements.diff([made("diff", "", {"equal": False, "diff": found})])
    for shown in ("a.onnx and b.onnx: 8 layers and 20 grids were compared", ">weights<", ">how<"):
        assert shown in drawn
    assert 'data-label="how"' in drawn
    alike = judgements.diff(
        [made("diff", "", {"equal": True, "diff": {**found, "differences": []}})]
    )
    assert "<table" not in alike
