"""The verdict on what commands made: calibrated and exported files, networks, searches, sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.documents import mapping, number, records, text, texts, whole
from edgeq.deploy.report.sections.making.files import compared
from edgeq.deploy.report.sections.making.training import EXACTNESS, shown
from edgeq.deploy.report.sections.making.trials import named, widths
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.deploy.report.verdict import Headlines, Verdict


def _calibrate(document: Document, _found: Verdict) -> Headlines:
    content = document.content
    path = text(content.get("path"))
    if not path:
        samples = counted(whole(content.get("samples")) or 0, "sample")
        yield 4, "none", f"A part is measured: {samples}, kept as {text(content.get('statistics'))}"
        return
    if content.get("collapsed"):
        yield 1, "look", text(content.get("collapsed")).capitalize()
    if not content.get("held_back"):
        yield 4, "none", f"{path} is calibrated, and not judged: {text(content.get('not_judged'))}"
    costs = records(content.get("layers"))
    if costs:
        first = costs[0]
        yield (
            5,
            "none",
            (
                f"Of {counted(len(costs), 'layer')}, {text(first.get('layer'))} costs most: "
                f"{text(first.get('reason'))}"
            ),
        )
    for line in texts(content.get("told")):
        if line.startswith("warning: "):
            yield 3, "look", line.removeprefix("warning: ").partition("\n")[0].capitalize()


def _export(document: Document, found: Verdict) -> Headlines:
    content = document.content
    files = records(content.get("files"))
    states: list[str] = []
    total = 0
    for file in files:
        name, numbers = text(file.get("path")), compared(file)
        inexact = records(file.get("approximations"))
        different = texts(mapping(file.get("parity")).get("different"))
        share = number(mapping(file.get("in_float")).get("share"))
        if different:
            state, words = "bad", f"{counted(len(different), 'number', 'differ', of=numbers)}"
        elif inexact:
            state, words = "look", f"{counted(len(inexact), 'tensor')} not exact"
        elif share > 0:
            state, words = "look", f"{100 * share:.1f} % of its MACs are in float"
        else:
            state, words = "good", f"all {numbers:,} numbers are the source's"
        found.say(name, state, words)
        states.append(state)
        total += numbers
    yield from _exported(states, total)
    for name, told in mapping(content.get("verification")).items():
        tensors = records(mapping(told).get("tensors"))
        worst = max((whole(each.get("worst")) or 0 for each in tensors), default=0)
        off = sum(whole(each.get("different")) or 0 for each in tensors)
        total = sum(whole(each.get("compared")) or 0 for each in tensors)
        state = "bad" if worst > 1 else "good"
        yield (
            1 if worst > 1 else 3,
            state,
            f"{name}: given equal integers, {off:,} of {total:,} differ, by {worst} LSB at most",
        )


def _exported(states: Sequence[str], numbers: int) -> Headlines:
    """The files together; a light says of each what is the matter."""
    bad, look = states.count("bad"), states.count("look")
    if bad:
        yield 2, "bad", f"{counted(bad, 'file', 'differ', of=len(states))} from what was exported"
    if look:
        yield 2, "look", f"{counted(look, 'file', 'are', of=len(states))} not exact or in float"
    if states and not bad and not look:
        yield (
            2,
            "good",
            f"Read back from {counted(len(states), 'file')}, {numbers:,} numbers are the source's",
        )


def _train(document: Document, _found: Verdict) -> Headlines:
    content, recipe = document.content, mapping(document.content.get("recipe"))
    best, epochs = whole(content.get("best_epoch")) or 0, len(records(content.get("history")))
    yield (
        3,
        "none",
        (
            f"{text(recipe.get('name')) or text(recipe.get('model'))}: test "
            f"{shown(content)}; the best epoch is {best + 1} of {epochs}"
        ),
    )


def _check(document: Document, found: Verdict) -> Headlines:
    targets = records(document.content.get("targets"))
    for target in targets:
        name = text(target.get("target"))
        exact, findings = target.get("exact"), records(target.get("findings"))
        against = [each for each in findings if EXACTNESS.get(text(each.get("verdict"))) != "good"]
        first = against[0] if against else {}
        words = "can hold it exactly" if exact else text(first.get("why")) or "cannot hold it"
        if not target.get("usable"):
            words += f"; does not work here: {text(target.get('why_not'))}"
        found.say(name, "good" if exact else "look", words)
        found.do(text(first.get("hint")), 2)
    held = sum(bool(target.get("exact")) for target in targets)
    state = "good" if held == len(targets) else "look"
    yield 2, state, f"{counted(held, 'target', of=len(targets))} can hold the scheme exactly"


def _search(document: Document, _found: Verdict) -> Headlines:
    content = document.content
    tried, best = records(content.get("trials")), mapping(content.get("best"))
    lost, allowed = number(content.get("unseen_loss")), number(content.get("max_drop"))
    limit, cost = text(content.get("limit")), text(content.get("cost"))
    if lost > allowed:
        yield (
            0,
            "bad",
            (
                f"On samples that no trial has seen, the chosen one loses {lost:.2f}, more than "
                f"{allowed:g}"
            ),
        )
    if best:
        figures, layers = mapping(best.get("figures")), widths(mapping(best.get("precisions")))
        took = number(figures.get("cost"))
        spent = f"{took:.3g} ms" if cost == "latency" else f"{took:,.0f} {cost}"
        yield (
            1,
            "good",
            (
                f"Chosen of {counted(len(tried), 'trial')}: {layers}, "
                f"score {number(figures.get('score')):.2f} at {spent}; {limit} was asked for"
            ),
        )
    elif tried:
        yield 1, "bad", f"None of {counted(len(tried), 'trial')} is within {limit}"
    sensitive = max(
        records(content.get("sensitivities")), key=lambda each: number(each.get("drop")), default={}
    )
    if sensitive:
        yield (
            4,
            "none",
            (
                f"Most sensitive: {text(sensitive.get('layer'))}, which costs "
                f"{number(sensitive.get('drop')):.2f} at {text(sensitive.get('precision'))}"
            ),
        )


def _sweep(document: Document, _found: Verdict) -> Headlines:
    content = document.content
    result = mapping(content.get("result"))
    cells, missing = whole(result.get("cells")) or 0, whole(result.get("missing")) or 0
    failures = result.get("failures")
    failed = failures if isinstance(failures, list) else []
    title = text(content.get("title"))
    if failed:
        yield 0, "bad", f"{title}: {counted(len(failed), 'cell', of=cells)} failed"
    else:
        state = "look" if missing else "none"
        yield 2, state, f"{title}: {counted(cells - missing, 'cell', 'are', of=cells)} there"
    chosen = mapping(result.get("chosen"))
    best = [row for row in records(result.get("rows")) if row.get("best")]
    if chosen:
        yield 1, "good", f"Best within the limits: {named(chosen.get('parameters'))}"
    elif best:
        listed = "; ".join(named(row.get("parameters")) for row in best[:3])
        more = f"; and {len(best) - 3} more" if len(best) > 3 else ""
        yield 3, "none", f"Nothing beats {listed}{more}"


_RULES: dict[str, Callable[[Document, Verdict], Headlines]] = {
    "calibrate": _calibrate,
    "export": _export,
    "train": _train,
    "check": _check,
    "search": _search,
    "sweep": _sweep,
}
MADE = tuple(_RULES)
"""The commands that make something."""


def made(document: Document, found: Verdict) -> Headlines:
    """The verdict on one of them, and what it says is next."""
    yield from _RULES[document.kind](document, found)
    found.do(text(document.content.get("next")), 3)
