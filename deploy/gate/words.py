"""What to do next, in the words of those who asked: lines of a file of rules, or flags."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from edgeq.deploy.gate.config import FILE
from edgeq.deploy.preprocessing import FLAGS
from edgeq.errors import EdgeqError, with_hint

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.deploy.gate.config import GateConfig
    from edgeq.deploy.gate.result import GateResult

_COMMAND = re.compile(r"(\b(?:edgeq|git) [a-z](?:[^;,:]|[;,:](?=\S))*)")
_VALUE = r"[A-Z0-9][\w./x]*|first:\d+|dataset|imagenet|raw"
_FLAG = re.compile(rf"(?<!\S)(--[a-z][a-z-]*)(?:[ =]({_VALUE}))?")
_KEYS = {
    "--preprocess": "preprocessing",
    "--limit": "samples",
    "--target": "targets",
    "--data": "data",
    "--data-dir": "data_dir",
    "--split": "split",
    "--task": "task",
    "--task-option": "task_options",
    "--threads": "threads",
}
"""The keys of the file of rules that stand for flags."""
_COUNTS = ("samples", "threads")
"""Those that hold a number, which stands without quotes."""
Given = ParamSpec("Given")


def in_own_words(
    judged: Callable[Concatenate[GateConfig, Given], GateResult],
) -> Callable[Concatenate[GateConfig, Given], GateResult]:
    """Have what a gate tells to do next, its remarks and hints worded for who asked."""

    @wraps(judged)
    def wrapped(config: GateConfig, /, *args: Given.args, **named: Given.kwargs) -> GateResult:
        try:
            result = judged(config, *args, **named)
        except EdgeqError as error:
            raise with_hint(error, worded(error.hint, config)) from error
        findings = (
            replace(each, next_command=worded(each.next_command, config))
            for each in result.findings
        )
        remarks = tuple(worded(each, config) for each in result.remarks)
        return replace(result, findings=tuple(findings), remarks=remarks)

    return wrapped


def worded(text: str, config: GateConfig) -> str:
    """A hint that names what can be changed where the rules came from.

    Args:
        text: the hint, or a command.
        config: from a file, or from flags.
    """
    parts = _COMMAND.split(text)
    parts[1::2] = [_command(each, config) for each in parts[1::2]]
    if config.path is not None:
        parts[::2] = [_FLAG.sub(_line, each) for each in parts[::2]]
    return "".join(parts)


def _command(command: str, config: GateConfig) -> str:
    """A command line that judges by the same rules."""
    if not command.startswith("edgeq gate"):
        return command
    if config.path is None:
        return command.replace("edgeq gate", "the same command with", 1)
    path = str(config.path)
    asked = "" if path == FILE or "--config" in command else f" --config {shlex.quote(path)}"
    return command.replace("edgeq gate", f"edgeq gate{asked}", 1)


def _line(found: re.Match[str]) -> str:
    """A flag as a line of the file; what has none stays."""
    flag, value = found[1], found[2]
    fed = flag in FLAGS and flag not in _KEYS
    key = flag.removeprefix("--").replace("-", "_") if fed else _KEYS.get(flag)
    if key is None:
        return found[0]
    told = f"the line {key} = ..."
    if value:
        counts = key in _COUNTS and value.isdigit()
        told = f"{key} = {value}" if counts else f'{key} = "{value}"'
    return f"{told} under [preprocessing]" if fed else told
