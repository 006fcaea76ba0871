"""Reads ``edgeq-gate.toml``: every fault is told with its line and the nearest right word."""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from edgeq.data.splitting import First, read_limit
from edgeq.deploy.gate.config import BASELINE, Expected, GateConfig, Levels, Rule
from edgeq.deploy.gate.rules import EXPECTED, KEYS, KINDS, LIMITS, RULES, STAGES, STATISTICS
from edgeq.deploy.preprocessing import NAMES, AskedPreprocessing
from edgeq.errors import ArtefactError, UsageError
from edgeq.files import parse_toml, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from edgeq.deploy.gate.config import Value
    from edgeq.deploy.gate.rules import KeyKind, Setting

MAX_BYTES = 1 << 20
_HEAD = re.compile(r"\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(#.*)?")
_KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[\w.-]+)\s*=""")


def read_config(path: Path) -> GateConfig:
    """The gate that a file asks for.

    Raises:
        ArtefactError: it is missing or no TOML, a key is unknown, or a value is of the wrong kind;
            with the line.
    """
    if not path.exists():
        raise ArtefactError(
            f"there is no {path}", hint="edgeq gate init writes it from the files that are there"
        )
    try:
        text = read_bytes(path, "file of rules", limit=MAX_BYTES).decode()
        content = parse_toml(text)
    except ValueError as error:
        raise ArtefactError(
            f"{path} is no TOML: {error}", hint='write lines such as data = "digits"'
        ) from error
    return _Reader(path, lines_of(text)).config(content, path)


def read_rules(content: Mapping[str, object]) -> tuple[Rule, ...]:
    """Rules that are given as what stands under ``[rules]``.

    Raises:
        ArtefactError: one is unknown, or a value is of the wrong kind.
    """
    return _Reader(None, {}).rules(content)


def rules_changed(config: GateConfig, earlier: bytes) -> Iterator[str]:
    """How the rules of a file are others than they were, a sentence each.

    Args:
        config: as it is.
        earlier: the content of the file then.
    """
    if config.path is None:
        return
    try:
        content = parse_toml(earlier)
        then = _Reader(config.path, {}).config(content, config.path)
    except (ValueError, ArtefactError):
        yield f"the rules of then cannot be read, so nobody can tell how {config.path} changed"
        return
    old, new = (dict(_settings(each.rules)) for each in (then, config))
    for setting in {**old, **new}:
        was, now = old.get(setting), new.get(setting)
        if was != now:
            before, after = ("absent" if each is None else _toml(each) for each in (was, now))
            yield f"the rule {setting} was {before}, and is {after}"


def _settings(rules: Iterable[Rule]) -> Iterator[tuple[str, Value]]:
    """Each setting by rule and name; of further rules of one name with their number."""
    seen: dict[str, int] = {}
    for rule in rules:
        seen[rule.name] = count = seen.get(rule.name, 0) + 1
        called = rule.name if count == 1 else f"{rule.name} {count}"
        for name, value in rule.settings.items():
            yield f"{called}.{name}", value
        if rule.stages:
            yield f"{called}.stages", rule.stages


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """The line of each key, from 1, by its path; of a repeated table, that of each with its number.

    Keys of a table on one line are not among them: theirs is the line of the table.
    """
    found: dict[tuple[str, ...], int] = {}
    here: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if head := _HEAD.fullmatch(line):
            here = _parts(head[1])
            if line.lstrip().startswith("[["):
                count = sum(key[:-1] == here and key[-1].isdecimal() for key in found)
                here = (*here, str(count))
            found.setdefault(here, number)
        elif key := _KEY.match(line):
            found.setdefault((*here, *_parts(key[1])), number)
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    if dotted[:1] in "\"'":
        return (dotted[1:-1],)
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checks one file.

    Attributes:
        path: the file; None for rules that come from elsewhere.
        lines: of its keys.
    """

    path: Path | None
    lines: Mapping[tuple[str, ...], int]

    def config(self, content: Mapping[str, Any], path: Path) -> GateConfig:
        """All of it."""
        told = self.table(content, (), KEYS, "key")
        for name in ("artefacts", "data", "rules"):
            if not told.get(name):
                raise ArtefactError(
                    f"{path} has no {name}", hint=f"add {name}, or write it by edgeq gate init"
                )
        folder = path.parent
        data_dir = told.get("data_dir")
        samples = told.get("samples")
        if samples is not None and read_limit(samples) < 1:
            raise self.wrong(
                ("samples",),
                f"samples = {_toml(samples)} leaves nothing to judge",
                "give 1 or more",
            )
        return GateConfig(
            artefacts=tuple(folder / each for each in told["artefacts"]),
            data=_data(told["data"], folder),
            baseline=folder / told.get("baseline", BASELINE),
            rules=self.rules(told["rules"]),
            folder=folder,
            path=path,
            command=told.get("command", ""),
            model=told.get("model", ""),
            data_dir=None if data_dir is None else folder / data_dir,
            split=told.get("split", "test"),
            samples=None if samples is None else read_limit(samples),
            preprocessing=self.preprocessing(told.get("preprocessing"), folder),
            targets=told.get("targets", ()),
            stages=told.get("stages", ()),
            float_stage=told.get("float", ""),
            threads=int(told.get("threads", 1)) or 1,
            seconds=float(told.get("seconds", 3.0)),
            task=told.get("task", ""),
            task_options={key: str(value) for key, value in told.get("task_options", {}).items()},
            levels=self.levels(told.get("statistics", {})),
            expected=tuple(self.expected(each, i) for i, each in enumerate(told.get("expect", ()))),
        )

    def rules(self, content: Mapping[str, Any]) -> tuple[Rule, ...]:
        """The rules, in the order of judging."""
        for name in content:
            if name not in RULES:
                raise self.unknown("rule", name, ("rules", name), RULES)
        return tuple(
            rule for name in RULES if name in content for rule in self.each(name, content[name])
        )

    def each(self, name: str, content: Any) -> Iterator[Rule]:
        """A rule, or several of one name."""
        where = ("rules", name)
        if not isinstance(content, list | tuple):
            yield self.rule(name, content, where)
            return
        if not content:
            raise self.wrong(where, f"{name} = [] holds no rule", f"leave {name} out")
        for number, one in enumerate(content):
            yield self.rule(name, one, (*where, str(number)))

    def rule(self, name: str, content: Any, where: tuple[str, ...]) -> Rule:
        """One of them."""
        kind = RULES[name]
        line = self.line(where)
        if kind.short is not None and content == kind.short[0]:
            _, setting, value = kind.short
            return Rule(name, {setting: value}, line=line)
        if not isinstance(content, dict):
            said = "" if kind.short is None else f"{_toml(kind.short[0])}, or "
            first = next(iter(kind.settings))
            raise self.wrong(
                where,
                f"{name} = {_toml(content)} is no rule",
                f"write {said}a table, such as {name} = {{ {first} = ... }}",
            )
        known = {**kind.settings, "stages": STAGES}
        told = self.table(content, where, known, f"setting of {name}")
        stages = told.pop("stages", ())
        if not told:
            raise self.wrong(where, f"{name} says nothing", f"set {', '.join(kind.settings)}")
        settings: dict[str, Value] = told
        rule = Rule(name, settings, stages, line)
        if name == "metric":
            self.metric(rule, where)
        return rule

    def metric(self, rule: Rule, where: tuple[str, ...]) -> None:
        """Return where a figure is named that can be judged on samples drawn again."""
        called = rule.text("name")
        if called in LIMITS:
            other = LIMITS[called]
            raise self.wrong(
                where,
                f"{called} is no mean over samples that could be drawn again",
                f"judge it by {other} = {{ {next(iter(RULES[other].settings))} = ... }}",
            )
        if not called and not rule.text("task"):
            raise self.wrong(where, "the rule metric names no metric", 'add name = "F1" to it')
        try:
            _ = rule.task
        except UsageError as error:
            hint = 'write task_options = ["KEY=VALUE"]'
            raise self.wrong(where, error.what, hint) from error
        limits = [name for name, each in RULES["metric"].settings.items() if each.kind == "number"]
        if all(rule.number(name) is None for name in limits):
            raise self.wrong(
                where, "the rule metric has no limit", f"add one of {', '.join(limits)}"
            )

    def levels(self, content: Mapping[str, Any]) -> Levels:
        """How sure the gate has to be."""
        told = self.table(content, ("statistics",), STATISTICS, "key of [statistics]")
        for name in ("alpha", "power"):
            if name in told and not 0 < told[name] < 1:
                raise self.wrong(
                    ("statistics", name), f"{name} = {told[name]:g}", "give more than 0, below 1"
                )
        names = {each.name for each in fields(Levels)}
        return Levels(**{key: value for key, value in told.items() if key in names})

    def expected(self, content: Any, number: int) -> Expected:
        """A failure that is let pass."""
        where = ("expect", str(number))
        if not isinstance(content, dict):
            raise self.wrong(where, "expect is no table", "write [[expect]] above its lines")
        told = self.table(content, where, EXPECTED, "key of [[expect]]")
        for name in ("rule", "reason", "until"):
            if not told.get(name):
                raise self.wrong(
                    where, f"an expected failure has no {name}", f"add {name} = ... to it"
                )
        rule, _, setting = told["rule"].partition(".")
        if rule not in RULES:
            raise self.unknown("rule", rule, (*where, "rule"), RULES)
        if setting and setting not in RULES[rule].settings:
            raise self.unknown(
                f"setting of {rule}", setting, (*where, "rule"), RULES[rule].settings
            )
        return Expected(
            told["rule"], told.get("stage", "*"), told["reason"], told["until"], self.line(where)
        )

    def preprocessing(self, content: Any, folder: Path) -> AskedPreprocessing:
        """How samples are fed: a name, a TOML file, or a table."""
        from edgeq.data.preprocessing import Preprocessing

        if content is None:
            return AskedPreprocessing()
        if isinstance(content, str):
            if content in NAMES:
                return AskedPreprocessing(content)
            if content.endswith(".toml"):
                return AskedPreprocessing(str(folder / content))
            raise self.unknown("preprocessing", content, ("preprocessing",), NAMES)
        if not isinstance(content, dict):
            raise self.wrong(
                ("preprocessing",),
                f"preprocessing = {_toml(content)}",
                "write one of dataset, imagenet or raw, a TOML file, or a table",
            )
        known = [each.name for each in fields(Preprocessing)]
        for name in content:
            if name not in known:
                raise self.unknown("key of [preprocessing]", name, ("preprocessing", name), known)
        return AskedPreprocessing(None, content)

    def table(
        self,
        content: Mapping[str, Any],
        where: tuple[str, ...],
        known: Mapping[str, Setting],
        noun: str,
    ) -> dict[str, Any]:
        """The keys of a table, all known and of the right kind; lists as tuples."""
        for name in content:
            if name not in known:
                raise self.unknown(noun, name, (*where, name), known)
        return {
            name: self.value(value, (*where, name), known[name].kind)
            for name, value in content.items()
        }

    def value(self, value: Any, where: tuple[str, ...], kind: KeyKind) -> Any:
        """One value, of the right kind."""
        if kind in ("preprocessing", "tables"):
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = {
            "number": number and math.isfinite(value) and value >= 0,
            "share": number and 0 <= value <= 1,
            "count": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
            "flag": isinstance(value, bool),
            "text": isinstance(value, str) and bool(value),
            "words": isinstance(value, list) and all(isinstance(each, str) for each in value),
            "table": isinstance(value, dict),
            "date": isinstance(value, dt.date) and not isinstance(value, dt.datetime),
            "samples": _is_limit(value),
        }[kind]
        if not right:
            raise self.wrong(
                where, f"{where[-1]} = {_toml(value)} is not {KINDS[kind]}", f"give {KINDS[kind]}"
            )
        return tuple(value) if isinstance(value, list) else value

    def line(self, where: tuple[str, ...]) -> int:
        """Where a key stands, or the nearest table around it."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.lines:
                return self.lines[where[:length]]
        return 0 if self.path is None else 1

    def wrong(self, where: tuple[str, ...], what: str, hint: str) -> ArtefactError:
        """The error for something at a place."""
        place = "rules" if self.path is None else f"{self.path}, line {self.line(where)}"
        return ArtefactError(f"{place}: {what}", hint=hint)

    def unknown(
        self, noun: str, name: str, where: tuple[str, ...], known: Iterable[str]
    ) -> ArtefactError:
        """The error for a word that is not known, with the nearest that is."""
        names = list(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return self.wrong(
            where, f"no {noun} is called {name!r}", f"{hint}Known: {', '.join(names)}"
        )


def _is_limit(value: Any) -> bool:
    """Whether it is a number of samples, or a text of the first so many."""
    if isinstance(value, str):
        with suppress(ValueError):
            return isinstance(read_limit(value), First)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _data(text: str, folder: Path) -> str:
    """Data by name, or a file or folder seen from the file of rules."""
    path = folder / text
    return str(path) if "/" in text or path.suffix else text


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return repr(list(value))
    return str(value).lower() if isinstance(value, bool) else repr(value)
