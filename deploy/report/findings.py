"""The verdict of a page: a sentence, a light for each stage, and what to do next.

Each document is judged by what it says itself; nothing is measured here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report import commands
from edgeq.deploy.report.documents import (
    figure,
    figure_name,
    held_back,
    mapping,
    number,
    records,
    stage_name,
    text,
    texts,
    whole,
)
from edgeq.deploy.report.made import MADE, made
from edgeq.deploy.report.sections.latency import speed_ups
from edgeq.deploy.report.values import GUESSING, decibels, milliseconds
from edgeq.deploy.report.verdict import ORDER, Verdict
from edgeq.metrics.accuracy import mcnemar
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.deploy.report.verdict import Headlines
    from edgeq.plain import Json

SIGNIFICANCE = 0.05
LOW_SQNR_DB = 20.0
"""Below it an output without classes is worth a look: a tenth of the signal is error."""


def judge(documents: Sequence[Document]) -> Verdict:
    """The verdict on the newest document of each subject."""
    found = Verdict()
    headlines: list[tuple[int, str, str]] = []
    paths: dict[str, set[str]] = {}
    for document in documents:
        for name, path in document.files.items():
            paths.setdefault(name, set()).add(path)
    for document in documents:
        found.called = {n: path for n, path in document.files.items() if len(paths[n]) > 1}
        rule = _RULES.get(document.kind)
        if document.inside:
            _failures(records(document.main.get("failures")), found)
        elif rule is not None:
            headlines += [(rank, state, words) for rank, state, words in rule(document, found)]
            _last_line(document, found)
    if headlines:
        headlines.sort(key=lambda each: (each[1] != "bad", each[0], ORDER.index(each[1])))
        found.headline = headlines[0][2]
        found.sentences += [words for _, _, words in headlines[1:]]
        found.state = min((state for _, state, _ in headlines), key=ORDER.index)
    else:
        found.headline = "Nothing here is a verdict; the figures are below"
    found.steps.sort(key=lambda step: step.rank)
    return found


def _last_line(document: Document, found: Verdict) -> None:
    """What the command itself said was next, unless the same is said already."""
    told = text(document.content.get("next"))
    known = {tuple(step.command.split()[:2]) for step in found.steps}
    if tuple(told.split()[:2]) not in known:
        found.do(told, 6)


def _gate(document: Document, found: Verdict) -> Headlines:
    gate = document.main
    outcome = text(gate.get("outcome"))
    findings = records(gate.get("findings"))
    against = [each for each in findings if text(each.get("outcome")) not in _PASSES]
    states = {"pass": "good", "expected-failure": "good", "fail": "bad"}
    for stage in dict.fromkeys(text(each.get("stage")) for each in findings):
        mine = [each for each in findings if text(each.get("stage")) == stage]
        state = min((states.get(text(e.get("outcome")), "look") for e in mine), key=ORDER.index)
        bad = [each for each in mine if text(each.get("outcome")) not in _PASSES]
        words = (
            "gate: " + ", ".join(dict.fromkeys(text(each.get("rule")) for each in bad))
            if bad
            else f"gate: {counted(len(mine), 'rule')} kept"
        )
        found.say(stage or "the run as a whole", state, words)
    for each in against:
        found.do(text(each.get("next_command")), 0)
    for each in findings:
        if text(each.get("outcome")) == "expected-failure":
            found.expected.append(f"{text(each.get('message'))} ({text(each.get('reason'))})")
    first = next(
        (e for e in against if text(e.get("outcome")) == "fail"), against[0] if against else {}
    )
    message = text(first.get("message"))
    count = f"{len(against)} of {counted(len(findings), 'check')}"
    if outcome == "failed":
        yield 0, "bad", f"The gate failed on {count}: {message}"
    elif outcome in ("passed", "updated"):
        yield 0, "good", f"The gate {outcome}: {counted(len(findings), 'check')}, none failed"
    else:
        yield 0, "look", f"The gate cannot decide {count}: {message}"


_PASSES = ("pass", "expected-failure")


def _why(document: Document, found: Verdict) -> Headlines:
    why = document.main
    causes = records(why.get("causes"))
    states = {"WRONG": "bad", "unknown": "look"}
    for stage in records(why.get("stages")):
        found.say(
            stage_name(stage),
            states.get(text(stage.get("state")), "good"),
            _verdict_words(stage),
        )
    for cause in causes:
        found.do(text(cause.get("hint")), 1)
    if causes:
        yield 1, "bad", f"The cause is {text(causes[0].get('kind'))}: {text(causes[0].get('what'))}"
    else:
        yield 1, "good", "No operator does anything but round as it should"


def _verdict_words(stage: Mapping[str, Json]) -> str:
    verdict = text(stage.get("verdict"))
    if text(stage.get("state")) == "WRONG":
        return f"cause: {verdict.removeprefix('WRONG: ')}"
    return verdict or "the reference"


def _calibrate(document: Document, found: Verdict) -> Headlines:
    """What the integers cost, as a comparison with float tells; and the layer that costs most."""
    if document.content.get("held_back"):
        yield from _compare(held_back(document), found)
    yield from made(document, found)


def _compare(document: Document, found: Verdict) -> Headlines:
    comparison = document.main
    stages = records(comparison.get("stages"))
    reference = text(comparison.get("reference"))
    samples = whole(comparison.get("samples")) or 0
    base = next((each for each in stages if stage_name(each) == reference), {})
    lost = {
        text(each.get("artefact")) + " @ " + text(each.get("target")): each
        for each in records(comparison.get("saturating"))
    }
    drift = {
        text(hop.get("stage")): mapping(hop.get("output"))
        for hop in records(comparison.get("from_reference"))
    }
    states = []
    for stage in stages:
        name = stage_name(stage)
        state, words = _stage_light(stage, base, drift.get(name, {}), samples)
        if name in lost:
            state, words = "bad", f"{words}; {text(lost[name].get('what'))}"
            found.do(text(lost[name].get("hint")), 1)
        found.say(name, state, words)
        states.append((state, name, words))
    failures = records(comparison.get("failures"))
    _failures(failures, found)
    judged = [each for each in states if each[1] != reference]
    bad = [each for each in judged if each[0] == "bad"]
    look = [each for each in judged if each[0] == "look"]
    on = f"on {counted(samples, 'sample')} of {text(comparison.get('data'))}"
    flipped = max(stages, key=lambda each: whole(each.get("changed")) or 0, default=None)
    if flipped is not None and whole(flipped.get("changed")):
        pair = (base, flipped)
        command = commands.why(
            document,
            [text(each.get("artefact")) for each in pair],
            [text(each.get("target")) for each in pair],
            text(comparison.get("data")),
        )
        found.do("Ask for the cause of the changed answers", 2, command)
    names = list(dict.fromkeys(text(each.get("artefact")) for each in stages))
    guessed = any(GUESSING in each for each in texts(comparison.get("remarks")))
    gate_init = "" if guessed else commands.gate_init(document, names)
    for what, rank, command in (
        ("Judge each change by rules", 7, gate_init),
        ("Measure what a run costs", 8, commands.profile(document, names)),
    ):
        found.do(what if command else "", rank, command)
    if bad:
        yield (
            2,
            "bad",
            f"{len(bad)} of {counted(len(judged), 'stage')} lost {on}: {bad[0][1]}, {bad[0][2]}",
        )
    elif look:
        most = max(look, key=lambda each: _changed(stages, each[1]))
        yield (
            2,
            "look",
            (
                f"{most[1]} answers otherwise than {reference} {on}: {most[2]}"
                if len(judged) == 1
                else f"{counted(len(look), 'stage', 'answer', of=len(judged))} otherwise than "
                f"{reference} {on}, most on {most[1]}: {most[2]}"
            ),
        )
    elif judged:
        all_ = f"All {len(judged)} stages answer" if len(judged) > 1 else f"{judged[0][1]} answers"
        yield 2, "good", f"{all_} as {reference} does, {on}"
    judged_by = figure(base)
    if judged_by is not None:
        every = [value for each in stages if (value := figure(each)) is not None]
        yield (
            6,
            "good",
            (
                f"{figure_name(stages).capitalize()}: {judged_by[0]:.2f} at the reference, "
                f"{min(v[0] for v in every):.2f} to {max(v[0] for v in every):.2f} over all stages"
            ),
        )


def _changed(stages: Sequence[Mapping[str, Json]], name: str) -> int:
    stage = next((each for each in stages if stage_name(each) == name), {})
    return whole(stage.get("changed")) or 0


def _stage_light(
    stage: Mapping[str, Json], base: Mapping[str, Json], drift: Mapping[str, Json], samples: int
) -> tuple[str, str]:
    """The light of a compared stage, and why."""
    if stage is base:
        return "good", "the reference"
    changed, mine, other = whole(stage.get("changed")), figure(stage), figure(base)
    score = mapping(stage.get("score"))
    higher = bool(score.get("higher_is_better", True))
    moved = ""
    if mine is not None and other is not None and mine[0] != other[0]:
        moved = f", {figure_name([stage]).partition(' (')[0]} {mine[0] - other[0]:+.2f}".replace(
            "-", "−"
        )
        if _worse(stage, base, higher=higher):
            what = "" if changed is None else f"{changed:,} of {samples:,} answers changed"
            return "bad", f"{what}{moved}".removeprefix(", ")
    if changed is not None:
        if changed:
            return "look", f"{changed:,} of {samples:,} answers changed{moved}"
        return "good", f"the same answers{moved}"
    sqnr = number(drift.get("sqnr_db"))
    if math.isnan(sqnr):
        return ("good", "equal outputs") if drift else ("none", "no answers to compare")
    return (
        "look" if sqnr < LOW_SQNR_DB else "good"
    ), f"{decibels(sqnr)} dB from the reference{moved}"


def _worse(stage: Mapping[str, Json], base: Mapping[str, Json], *, higher: bool) -> bool:
    """Whether a stage lost more than chance explains.

    Of accuracies on the same samples by McNemar's exact test, as if every answer that changed had
    become right or wrong, which finds the fewest losses; of other figures by their intervals.
    """
    mine, other = (mapping(each.get("accuracy")) for each in (stage, base))
    right, before = whole(mine.get("correct")), whole(other.get("correct"))
    if not mapping(stage.get("score")) and right is not None and before is not None:
        lost = before - right
        changed = max(whole(stage.get("changed")) or 0, lost)
        gains = (changed - lost) // 2
        return lost > 0 and mcnemar(lost + gains, gains) < SIGNIFICANCE
    ends, value = figure(stage), figure(base)
    if ends is None or value is None:
        return False
    return ends[2] < value[1] if higher else ends[1] > value[2]


def _failures(failures: Sequence[Mapping[str, Json]], found: Verdict) -> None:
    """Stages that did not run; those that could not be expected to are one line."""
    expected = [each for each in failures if each.get("expected")]
    for what in dict.fromkeys(text(each.get("expected")) for each in expected):
        names = [stage_name(each) for each in expected if text(each.get("expected")) == what]
        found.expected.append(f"{what}: {', '.join(names)}")
    for each in failures:
        if not each.get("expected"):
            found.say(stage_name(each), "bad", f"did not run: {text(each.get('what'))}")
            found.do(f"{stage_name(each)}: {text(each.get('hint'))}", 1)


def _survey(document: Document, found: Verdict) -> Headlines:
    survey = document.main
    rows = records(survey.get("rows"))
    against, samples = text(survey.get("reference")), whole(survey.get("samples")) or 0
    ran = [row for row in rows if not row.get("failure")]
    for row in rows:
        name = f"{text(row.get('network'))} @ {text(row.get('target'))}"
        if row.get("failure"):
            found.say(name, "bad", f"did not run: {text(row.get('failure'))}")
            continue
        flipped = whole(row.get("flipped"))
        if flipped is None:
            found.say(name, "good", "the reference" if row.get("target") == against else "ran")
        elif flipped:
            found.say(name, "look", f"{flipped:,} of {samples:,} answers changed")
        else:
            found.say(name, "good", "the same answers")
        profile = mapping(row.get("profile"))
        if profile:
            _time_light(name, profile, found, {})
    changed = sum(bool(whole(row.get("flipped"))) for row in ran)
    state = "bad" if len(ran) < len(rows) else "look" if changed else "good"
    yield (
        3,
        state,
        (
            f"{len(ran)} of {counted(len(rows), 'pair')} of network and target ran on "
            f"{counted(samples, 'sample')} of {text(survey.get('data'))}; "
            f"{changed or 'none'} of them changed an answer against {against}"
        ),
    )


def _profile(document: Document, found: Verdict) -> Headlines:
    profiles = records(document.main.get("profiles"))
    measured = [each for each in profiles if text(each.get("kind")) == "measured"]
    ratios = speed_ups(document)
    for each in profiles:
        ratio = next((one for one in ratios if stage_name(one) == stage_name(each)), {})
        _time_light(stage_name(each), each, found, ratio)
    _failures(records(document.main.get("failures")), found)
    trusted = [each for each in measured if _trust(each).get("clock")]
    if trusted:
        fastest = min(trusted, key=lambda each: number(mapping(each.get("latency")).get("p50_ms")))
        yield (
            5,
            "good",
            (
                f"Fastest of {counted(len(trusted), 'trustworthy time')}: {stage_name(fastest)}, "
                f"{milliseconds(number(mapping(fastest.get('latency')).get('p50_ms')))} ms"
            ),
        )
    elif ratios:
        best = max(ratios, key=lambda each: number(mapping(each.get("times")).get("value")))
        low, high = (number(mapping(best.get("times")).get(end)) for end in ("low", "high"))
        yield (
            5,
            "none",
            f"{stage_name(best)} is {_as_fast(best)}, with 95 % {low:.2f} to {high:.2f}",
        )
    if len(trusted) < len(measured):
        yield (
            7,
            "none",
            (
                f"{len(measured) - len(trusted)} of {counted(len(measured), 'measured time')} "
                "cannot be trusted and are not drawn"
            ),
        )
        told = (text(_trust(each).get("advice")) for each in measured)
        advice = next((said for said in told if said), "")
        found.do(f"To trust the times: {advice}" if advice else "", 5)


def _trust(profile: Mapping[str, Json]) -> dict[str, Json]:
    return mapping(mapping(profile.get("latency")).get("trust"))


def _as_fast(ratio: Mapping[str, Json]) -> str:
    times = number(mapping(ratio.get("times")).get("value"))
    return f"{times:.2f} times as fast as {ratio.get('base')} @ {ratio.get('base_target')}"


def _time_light(
    name: str, profile: Mapping[str, Json], found: Verdict, ratio: Mapping[str, Json]
) -> None:
    latency = mapping(profile.get("latency"))
    took = f"{milliseconds(number(latency.get('p50_ms')))} ms"
    kind = text(profile.get("kind"))
    if kind != "measured":
        found.say(name, "none", f"{took}, {kind}")
    elif _trust(profile).get("clock"):
        found.say(name, "good", took)
    else:
        told = f"{_as_fast(ratio)}; " if ratio else ""
        found.say(name, "none", f"{told}time not to be trusted")


def _lint(document: Document, found: Verdict) -> Headlines:
    total = {"error": 0, "warning": 0, "note": 0}
    for report in records(document.main.get("files")):
        findings = records(report.get("findings"))
        for each in findings:
            total[text(each.get("severity"))] = total.get(text(each.get("severity")), 0) + 1
            ranks = {"error": 1, "warning": 3, "note": 6}
            found.do(
                f"{text(each.get('rule'))}: {text(each.get('hint'))}",
                ranks.get(text(each.get("severity")), 6),
            )
        severities = [text(each.get("severity")) for each in findings]
        state = "bad" if "error" in severities else "look" if "warning" in severities else "good"
        words = ", ".join(counted(severities.count(s), s) for s in total if severities.count(s))
        found.say(text(report.get("file")), state, f"lint: {words or 'nothing found'}")
    told = ", ".join(counted(n, severity) for severity, n in total.items() if n)
    state = "bad" if total["error"] else "look" if total["warning"] else "good"
    yield 4, state, f"Lint: {told or 'nothing found'}"


def _bounds(document: Document, found: Verdict) -> Headlines:
    bounds = document.main
    bits = whole(document.content.get("accumulator_bits"))
    name = text(bounds.get("file"))
    if bits is not None:
        state = "good" if bits <= 32 else "bad"
        found.say(name, state, f"an accumulator of {bits} bits never overflows")
        yield 4, state, f"{name}: no sum leaves {bits} bits, whatever the input"
    for certificate in records(bounds.get("certificates")):
        samples, certain = (
            whole(certificate.get("samples")) or 0,
            whole(certificate.get("certified")) or 0,
        )
        if samples:
            yield (
                6,
                "good" if certain == samples else "none",
                (
                    f"Against {text(certificate.get('reference'))}: {certain:,} of "
                    f"{counted(samples, 'answer')} certified, with kernels within "
                    f"{number(certificate.get('kernel_lsb')):g} LSB"
                ),
            )
        for held in records(certificate.get("held")):
            beyond = whole(held.get("beyond")) or 0
            stage = f"{name} @ {text(held.get('target'))}"
            found.say(
                stage,
                "bad" if beyond else "good",
                f"{counted(beyond, 'sample')} beyond the bound" if beyond else "within its bound",
            )
            if beyond:
                yield 1, "bad", f"{stage} is beyond its bound on {counted(beyond, 'sample')}"


def _diff(document: Document, found: Verdict) -> Headlines:
    differences = records(document.main.get("differences"))
    if document.content.get("equal"):
        yield 1, "good", "The files hold the same numbers"
    else:
        yield 1, "look", f"The files hold other numbers: {counted(len(differences), 'difference')}"
        what = "See what that does to the answers, with your data in the place of NAME"
        found.do(what, 3, text(document.content.get("next")))


def _emulate(document: Document, found: Verdict) -> Headlines:
    emulation = document.main
    counts = mapping(emulation.get("counts"))
    wrong = whole(counts.get("wrong")) or 0
    sums = whole(counts.get("sums")) or 0
    name = f"{text(emulation.get('artefact'))} @ {text(emulation.get('hardware'))}"
    words = f"{counted(wrong, 'sum', 'are', of=sums)} wrong"
    state = "bad" if wrong else "good"
    found.say(name, state, words)
    yield 1, state, f"{name}: {words}"


def _demo(document: Document, found: Verdict) -> Headlines:
    states = texts(document.main.get("states"))
    for rank, line in enumerate(texts(document.main.get("verdict"))):
        name, _, words = line.partition(": ")
        state = states[rank] if rank < len(states) else "good"
        if rank:
            found.say(name, state, words)
        else:
            yield rank - 10, state, words
    for rank, what in enumerate(texts(document.main.get("next"))):
        found.do(what, rank)


_RULES = {
    "demo": _demo,
    "gate": _gate,
    "why": _why,
    "compare": _compare,
    "survey": _survey,
    "profile": _profile,
    "lint": _lint,
    "bounds": _bounds,
    "diff": _diff,
    "emulate": _emulate,
    **dict.fromkeys(MADE, made),
    "calibrate": _calibrate,
}
