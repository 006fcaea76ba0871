"""Writes docs/reference/cli.md from the commands themselves, so that the page cannot promise what is not there.

Run it with ``make docs``; a test compares the page with what this module renders.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.core
import typer.main

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent / "reference" / "cli.md"
HEAD = """# Command line reference

Written by `make docs` from the commands themselves; edit those, not this page.
Exit codes are the same for every command: see [exit codes](exit-codes.md).
"""
# Typer keeps its own copy of click or uses click's, depending on its version; both name these parts
# alike.
Command = Any
Parameter = Any


def render() -> str:
    """The whole page, for the Typer application of :mod:`edgeq.deploy.cli`."""
    from edgeq.deploy.cli import app

    root = typer.main.get_command(app)
    sections = [section("edgeq " + " ".join(path), command) for path, command in commands(root)]
    return "\n".join([HEAD, before_the_command(root), *sections]).rstrip() + "\n"


def before_the_command(root: Command) -> str:
    """The options of ``edgeq`` itself."""
    options = [
        (option_names(option), described(option)) for option in root.params if not option.hidden
    ]
    return (
        "\n\n".join(["## edgeq", "```\nedgeq [OPTIONS] COMMAND ...\n```", table("option", options)])
        + "\n"
    )


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


def section(name: str, command: Command) -> str:
    """One command: usage, what it does, its arguments and options."""
    visible = [parameter for parameter in command.params if not parameter.hidden]
    arguments = [parameter for parameter in visible if parameter.param_type_name == "argument"]
    options = [parameter for parameter in visible if parameter.param_type_name == "option"]
    usage = " ".join([name, *map(argument_usage, arguments), *(["[OPTIONS]"] if options else [])])
    parts = [
        f"## {name}",
        f"```\n{usage}\n```",
        inspect.cleandoc(command.help or "").replace("\b\n", ""),
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
    default = default_text(parameter)
    if parameter.required and parameter.param_type_name == "option":
        text += " (required)"
    if parameter.multiple:
        text += " (repeatable)"
    return text + (f" (default: {default})" if default else "")


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
    PAGE.write_text(render(), encoding="utf-8")
