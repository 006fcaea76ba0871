"""How a worker is started.

In which interpreter, under which emulator, in which container, on which board.

A launcher turns the arguments of a Python interpreter into a whole command line. The program itself
travels over standard input, so a place needs nothing but Python, numpy and the runtime.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Launcher(Protocol):
    """A place where a worker can be started.

    Hashable, because what was found out about it is kept.
    """

    def __hash__(self) -> int: ...

    @property
    def place(self) -> str:
        """What to call it in messages and reports."""
        ...

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line that runs Python there.

        Args:
            arguments: of the interpreter.
        """
        ...

    def missing(self) -> tuple[str, str] | None:
        """What this machine lacks to start anything there, and the hint; None for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Here:
    """The interpreter that edgeq itself runs in.

    Attributes:
        task: what runs there, for messages; empty for nothing in particular.
    """

    task: str = ""

    @property
    def place(self) -> str:
        """What to call it."""
        return self.task or "this Python, a process of its own"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line."""
        return [sys.executable, *arguments]

    def missing(self) -> tuple[str, str] | None:
        """Nothing."""
        return None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Another Python on this machine, such as a virtual environment's.

    Attributes:
        python: its executable.
    """

    python: Path

    @property
    def place(self) -> str:
        """What to call it."""
        return str(self.python)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line; without the caller's PYTHONPATH, which is for another interpreter."""
        return [str(self.python), "-E", *arguments]

    def missing(self) -> tuple[str, str] | None:
        """The executable."""
        return (
            None
            if self.python.is_file()
            else (f"there is no Python at {self.python}", "make the environment again")
        )


@dataclass(frozen=True, slots=True)
class Qemu:
    """A Python of another architecture under QEMU's user emulation.

    Attributes:
        root: the folder with its system libraries, QEMU's ``-L``.
        python: its executable, a path of this machine.
        site: the folder with its packages.
        cpu: QEMU's name for the processor.
        program: QEMU's executable.
        arguments: further ones of QEMU's.
    """

    root: Path
    python: Path
    site: Path
    cpu: str = "max"
    program: str = "qemu-aarch64"
    arguments: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What to call it."""
        return f"{self.program} -cpu {self.cpu}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line."""
        # not the packages of this machine's user
        own = ["-E", f"PYTHONPATH={self.site}", str(self.python), "-s"]
        return [
            self.program,
            *self.arguments,
            "-cpu",
            self.cpu,
            "-L",
            str(self.root),
            *own,
            *arguments,
        ]

    def missing(self) -> tuple[str, str] | None:
        """QEMU or the root."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not installed", "install QEMU 10 or later, user emulation"
        return (
            None
            if self.python.is_file()
            else (f"there is no Python at {self.python}", "make the environment again")
        )


@dataclass(frozen=True, slots=True)
class Container:
    """A container that is started for each worker and removed after it.

    Attributes:
        image: which one; it has Python, numpy and the runtime.
        program: ``docker`` or ``podman``.
        python: the interpreter inside.
        arguments: further ones of ``run``, such as ``--gpus all``.
    """

    image: str
    program: str = "docker"
    python: str = "python3"
    arguments: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What to call it."""
        return f"{self.program} {self.image}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line: an init that heeds signals, and no network, which no worker needs."""
        return [
            self.program,
            "run",
            "-i",
            "--rm",
            "--init",
            "--network",
            "none",
            *self.arguments,
            self.image,
            self.python,
            *arguments,
        ]

    def missing(self) -> tuple[str, str] | None:
        """The program."""
        return _not_found(self.program)


@dataclass(frozen=True, slots=True)
class Ssh:
    """A board, or any other machine, over ssh; keys have to be set up, nothing is asked.

    Attributes:
        host: ``user@address``, or a name of the user's ssh configuration.
        python: the interpreter there.
        port: where sshd listens; None leaves it to the configuration.
        identity: the private key's file; None leaves it to the configuration.
        arguments: further ones of ``ssh``.
        connect_seconds: how long to wait for the connection.
    """

    host: str
    python: str = "python3"
    port: int | None = None
    identity: Path | None = None
    arguments: tuple[str, ...] = ()
    connect_seconds: int = 5

    @property
    def place(self) -> str:
        """What to call it."""
        return f"ssh {self.host}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line; a dead connection is noticed within 15 s."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(self.connect_seconds),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ControlPath": "none",
        }
        command = [
            "ssh",
            "-T",
            *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
        ]
        command += ["-p", str(self.port)] if self.port is not None else []
        command += ["-i", str(self.identity)] if self.identity is not None else []
        return [*command, *self.arguments, "--", self.host, shlex.join([self.python, *arguments])]

    def missing(self) -> tuple[str, str] | None:
        """The ssh client."""
        return _not_found("ssh")


def _not_found(program: str) -> tuple[str, str] | None:
    return (
        None
        if shutil.which(program)
        else (f"{program} is not installed", f"install {program}, or put it on the PATH")
    )
