"""Flags that were typed, which the next command has to repeat to feed the same samples alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

OF_PREPROCESSING = frozenset(
    {
        *("--preprocess", "--resize", "--interpolation", "--center-crop", "--letterbox", "--scale"),
        *("--mean", "--std", "--channels", "--layout", "--dtype", "--audio"),
    }
)
"""Those that say how samples are fed."""
ABOUT_SAMPLES = OF_PREPROCESSING | {
    *("--data-dir", "--split", "--limit", "--model", "--task", "--task-option", "--threads")
}
"""Flags that mean the same to each command that runs files on samples."""
TAKEN: Mapping[str, frozenset[str]] = {
    "compare": ABOUT_SAMPLES,
    "why": ABOUT_SAMPLES,
    "calibrate": OF_PREPROCESSING | {"--data-dir"},  # the network is named already
    "gate init": frozenset({"--preprocess", "--model"}),
    "gate": ABOUT_SAMPLES - {"--limit", "--threads"},  # it judges on all samples
}
"""What is repeated to a command that names data."""
_BASELINE = "edgeq-baseline.json"


def flags_in(words: Sequence[str], names: Collection[str]) -> Iterator[str]:
    """The flags of some names in a command line, each with its value.

    Args:
        words: the command line.
        names: of flags that have a value.
    """
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if word == "--":
            return
        if name in names:
            yield from (word,) if equals else (word, next(rest, ""))


def following(words: Sequence[str], typed: Sequence[str]) -> list[str]:
    """A next command that feeds the same samples alike.

    Where `edgeq gate init` has no place for what was typed, it is `edgeq gate --update` with the
    same flags.

    Args:
        words: of the next command, which is left as it is where it names no data.
        typed: the command line that was given.
    """
    if words[0] != "edgeq" or "--data" not in words:
        return list(words)
    name, ending = words[1], list[str]()
    if list(words[1:3]) == ["gate", "init"]:
        name = "gate init"
        if not TAKEN[name].issuperset(_names(typed, TAKEN["gate"])):
            name, words = "gate", ["edgeq", "gate", *words[3:]]
            ending = ["--baseline", _BASELINE, "--update"]
    told = _names(words, ABOUT_SAMPLES)
    return [*words, *flags_in(typed, TAKEN.get(name, frozenset()) - told), *ending]


def _names(words: Sequence[str], of: Collection[str]) -> set[str]:
    flags = (word.partition("=")[0] for word in flags_in(words, of))
    return {flag for flag in flags if flag in of}
