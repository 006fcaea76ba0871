"""Writes docs/reference/cli/ from the commands themselves, so that no page can be untrue.

Run it with ``make docs``; a test compares the pages with what this module renders.
"""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.core
import typer.main

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = Path(__file__).parent / "reference" / "cli"
HEAD = """# Command line

Written by `make docs` from the commands themselves; edit those, not these pages.
Exit codes are the same for every command: see [exit codes](../exit-codes.md).
"""
# When a person wants a command, one to copy, and the page of the guide that explains it.
USES = {
    "demo": (
        "to see the whole way once, on data that comes with edgeq",
        "edgeq demo -o demo",
        "index",
    ),
    "train": (
        "to train a network of the zoo, or your own by name, for integers",
        "edgeq train resnet8 --data digits --weight-bits 4 --epochs 10 -o runs/first",
        "train-from-the-zoo",
    ),
    "calibrate": (
        "to quantise a float model that is trained already, without training",
        "edgeq calibrate float.onnx --data digits -o calibrated.onnx",
        "calibrate",
    ),
    "search": (
        "to find how many bits each layer needs, within a loss or a budget",
        "edgeq search float.onnx --data digits --max-drop 0.5 -o searched.onnx",
        "search-precisions",
    ),
    "sweep": (
        "to run a grid of networks, schemes, seeds and targets, or to search one",
        "edgeq sweep benchmarks/tables/seed-000-depth-digits.toml",
        "sweep",
    ),
    "export": (
        "to write the files that a runtime opens, with proof that no number changed",
        "edgeq export runs/first -o exported --name digits",
        "export",
    ),
    "profile": (
        "to know how long a file takes on a target",
        "edgeq profile exported/digits.onnx --target ort-cpu",
        "survey-and-profile",
    ),
    "emulate": (
        "to see what hardware that you do not have would answer, and where its sums overflow",
        "edgeq emulate exported/digits.onnx --on avx2 --data digits",
        "emulate-hardware",
    ),
    "compare": (
        "when two runs of a network differ and you want to know where, by how much and why",
        "edgeq compare runs/first exported/digits.onnx exported/digits.tflite --data digits",
        "find-out-why-it-differs",
    ),
    "survey": (
        "to see one or several networks on every runtime in one table",
        "edgeq survey runs/first --data digits --limit 100",
        "survey-and-profile",
    ),
    "audit": (
        "to know which operators of a file run in integers on a target, and why the others do not",
        "edgeq audit exported/digits.onnx --target ort-cpu",
        "find-out-why-it-differs",
    ),
    "lint": (
        "to know in seconds what is wrong with a quantised file, of any tool, without running it",
        "edgeq lint exported/digits.onnx exported/digits.tflite",
        "lint-a-file",
    ),
    "why": (
        "to know at which step a network goes wrong, in which operator, and why",
        "edgeq why exported/digits.onnx exported/digits.tflite --data digits",
        "find-out-why-it-differs",
    ),
    "diff": (
        "when two files should hold the same network and do not answer alike, before running them",
        "edgeq diff exported/digits.onnx exported/digits.tflite",
        "find-out-why-it-differs",
    ),
    "bounds": (
        "to know what a file provably never does, such as overflow an accumulator of 24 bits",
        "edgeq bounds exported/digits.onnx",
        "bound-a-file",
    ),
    "gate": (
        "in CI, to fail a build when a network got worse",
        "edgeq gate",
        "gate-in-ci",
    ),
    "report": (
        "to show others what was found: one page of one or many results, with a verdict",
        "edgeq report runs -o report.html",
        "read-the-page",
    ),
    "runs": (
        "to list, compare and prune what other commands kept with `--run`",
        "edgeq runs runs",
        "keep-runs",
    ),
    "operators": (
        "to look up which ONNX operators become integer TFLite, and under which conditions",
        "edgeq operators",
        "export",
    ),
    "targets": (
        "to see which runtimes work here, to try one, or to set one up",
        "edgeq targets",
        "run-on-a-board",
    ),
    "models": (
        "to list the networks that `edgeq train` knows",
        "edgeq models",
        "train-from-the-zoo",
    ),
    "data": ("to list the data sets, and what each one needs", "edgeq data", "your-data-and-model"),
}
# Typer has its own copy of click or uses click's, by its version; both name these parts alike.
Command = Any
Parameter = Any


def render() -> dict[str, str]:
    """Every page by its name, the index too, for the application of :mod:`edgeq.deploy.cli`."""
    from edgeq.deploy.cli import app

    root: Command = typer.main.get_command(app)
    sections: dict[str, list[str]] = {
        name: [] for name in root.commands if not root.commands[name].hidden
    }
    for path, command in commands(root):
        sections[path[0]].append(section(path, command))
    pages = {
        f"{name}.md": "\n".join([opening(name), *parts]).rstrip() + "\n"
        for name, parts in sections.items()
    }
    return {"index.md": index(root, sections), **pages}


def opening(name: str) -> str:
    """The title of a command's page, when to use it, and a command to copy."""
    when, example, guide = USES[name]
    explained = f"[The guide](../../guide/{guide}.md) explains it."
    return f"# edgeq {name}\n\nUse it {when}.\n{explained}\n\n```\n{example}\n```\n"


def index(root: Command, names: Iterable[str]) -> str:
    """The list of commands, and the options of ``edgeq`` itself."""
    rows = "\n".join(f"| [`edgeq {name}`]({name}.md) | {USES[name][0]} |" for name in names)
    options = [
        (option_names(option), described(option)) for option in root.params if not option.hidden
    ]
    own = ["## edgeq", "```\nedgeq [OPTIONS] COMMAND ...\n```", table("option", options)]
    return "\n\n".join([HEAD + f"\n| command | use it |\n|---|---|\n{rows}", *own]) + "\n"


def commands(
    command: Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every visible leaf command with the words that reach it, in the order of ``--help``."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    if path and getattr(command, "invoke_without_command", False):
        yield path, command
    for name, child in command.commands.items():
        if not child.hidden:
            yield from commands(child, (*path, name))


def section(path: tuple[str, ...], command: Command) -> str:
    """One command: usage, what it does, its arguments and options."""
    name = "edgeq " + " ".join(path)
    visible = [parameter for parameter in command.params if not parameter.hidden]
    arguments = [parameter for parameter in visible if parameter.param_type_name == "argument"]
    options = [parameter for parameter in visible if parameter.param_type_name == "option"]
    usage = " ".join([name, *map(argument_usage, arguments), *(["[OPTIONS]"] if options else [])])
    parts = [
        "## Usage" if len(path) == 1 else f"## {name}",
        f"```\n{usage}\n```",
        prose(command.help or ""),
    ]
    if arguments:
        parts.append(
            table(
                "argument",
                [(f"`{argument.name.upper()}`", described(argument)) for argument in arguments],
            )
        )
    if options:
        parts.append(
            table("option", [(option_names(option), described(option)) for option in options])
        )
    return "\n\n".join(parts) + "\n"


def prose(text: str) -> str:
    r"""A help text in lines of at most 100 columns; a paragraph that ``\b`` marks keeps its own."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        part.replace("\b\n", "")
        if part.startswith("\b")
        else textwrap.fill(" ".join(part.split()), 100, break_on_hyphens=False)
        for part in paragraphs
    )


def argument_usage(argument: Parameter) -> str:
    """``NAME``, ``[NAME]`` when it may be left out, with dots when it may be repeated."""
    word = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def option_names(option: Parameter) -> str:
    """Every spelling of an option, negations after a slash."""
    names = ", ".join(f"`{name}`" for name in option.opts)
    return (
        f"{names} / {', '.join(f'`{name}`' for name in option.secondary_opts)}"
        if option.secondary_opts
        else names
    )


def described(parameter: Parameter) -> str:
    """The help text in one line, with the default where there is one to tell."""
    text = " ".join((parameter.help or "").split())
    text += choices(parameter)
    default = default_text(parameter)
    if parameter.required and parameter.param_type_name == "option":
        text += " (required)"
    if parameter.multiple:
        text += " (repeatable)"
    return text + (f" (default: {default})" if default else "")


def choices(parameter: Parameter) -> str:
    """What an option takes, where that is one of few words."""
    words = (getattr(parameter, "metavar", None) or "").split("|")
    few = len(words) > 1 and all(word.islower() for word in words)
    return f" One of {', '.join(f'`{word}`' for word in words)}." if few else ""


def default_text(parameter: Parameter) -> str:
    """The default as a user would type it.

    Empty where there is none, or where leaving a flag out says it.
    """
    default = parameter.default() if callable(parameter.default) else parameter.default
    if isinstance(default, bool) and parameter.secondary_opts:
        return f"`{(parameter.opts if default else parameter.secondary_opts)[0]}`"
    if (
        default is None
        or isinstance(default, bool)
        or default in ([], (), "")
        or parameter.required
    ):
        return ""
    if isinstance(default, list | tuple):
        return ", ".join(f"`{value}`" for value in default)
    return f"`{getattr(default, 'value', default)}`"


def table(kind: str, rows: list[tuple[str, str]]) -> str:
    """A Markdown table of two columns; bars inside cells are escaped."""
    body = "\n".join(f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows)
    return f"| {kind} | meaning |\n|---|---|\n{body}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in render().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
