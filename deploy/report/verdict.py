"""What a page says first: a light for each stage, sentences, and what to do next."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ORDER = ("bad", "look", "good", "none")
"""Lights, the most urgent first; what is not judged says nothing about what is."""
_PROGRAMS = ("edgeq ", "git ")
_AT_THE_END = re.compile(r"(?P<what>[^:]+): (?P<command>edgeq [a-z][^;:]*[^;:.)])")
FIRST_STEPS = 3
"""What is to be done next that is told first."""


@dataclass(frozen=True, slots=True)
class Light:
    """What one document says of one stage.

    Attributes:
        state: ``good``, ``look``, ``bad`` or ``none``.
        words: why, in a few words.
    """

    state: str
    words: str


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do next.

    Attributes:
        what: a sentence; empty where the command says it all.
        rank: less is more urgent.
        command: a command line to type; empty for none.
    """

    what: str
    rank: int
    command: str = ""


@dataclass(slots=True)
class Verdict:
    """What a page says first.

    Attributes:
        state: the light of the whole.
        headline: a sentence.
        sentences: what else is most important.
        lights: what is said of each stage, in the order they were met.
        steps: what to do next, the most urgent first.
        expected: failures that are expected, a line each kind.
        called: what to call files of the document at hand whose names others have too.
    """

    state: str = "none"
    headline: str = ""
    sentences: list[str] = field(default_factory=list)
    lights: dict[str, list[Light]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    called: Mapping[str, str] = field(default_factory=dict)

    def say(self, stage: str, state: str, words: str) -> None:
        """Add a light, once."""
        file, at, target = stage.partition(" @ ")
        mine = self.lights.setdefault(self.called.get(file, file) + at + target, [])
        if Light(state, words) not in mine:
            mine.append(Light(state, words))

    def do(self, what: str, rank: int, command: str = "") -> None:
        """Add a step, once; a command line at the end of the sentence becomes its command."""
        if what.startswith(_PROGRAMS) and not command:
            what, command = "", what
        elif not command and (found := _AT_THE_END.fullmatch(what)):
            what, command = found["what"], found["command"]
        if (what or command) and all((s.what, s.command) != (what, command) for s in self.steps):
            self.steps.append(Step(what, rank, command))

    def worst(self, stage: str) -> str:
        """The most urgent light of a stage."""
        return min((light.state for light in self.lights[stage]), key=ORDER.index)


Headlines: TypeAlias = "Iterator[tuple[int, str, str]]"
"""How important, the light, and the sentence."""
