"""Arm's Ethos-U NPUs: what Vela compiles of a file, and its estimate.

The numbers by the reference kernels that define them.

An NPU's time cannot be had without one. What stands for it is the cycle count of Vela's performance
model, for the accelerator, system and memory mode of the options. Operators that Vela leaves to the
CPU are named, and are in no estimate.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import TargetError, UsageError
from edgeq.files import read_bytes
from edgeq.formats.dialect import TFLM
from edgeq.target import Availability, Capabilities, ChainLink
from edgeq.targets import tflite
from edgeq.targets.common.session import SampleSession
from edgeq.targets.plans.vela import compiled_of
from edgeq.targets.workers.process import Worker
from edgeq.targets.workers.target import WorkerTarget
from edgeq.targets.workers.wire import MAX_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.formats.tflite_file import FileGraph
    from edgeq.plan import Plan
    from edgeq.targets.plans.vela import Compiled
    from edgeq.targets.tflite import TfliteSession
    from edgeq.targets.workers.session import WorkerSession

_SETTINGS = ("system_config", "memory_mode")
# What Vela said and made of the files of this process last: one command asks for a file's plan, its
# estimate and its answers, and Vela takes a second each time.
_COMPILED: OrderedDict[tuple[str, ...], tuple[dict[str, str], bytes]] = OrderedDict()
_KEPT = 8
_WRONG_SETTING = ("invalid choice", "Incorrect argument", "Invalid configuration")


@dataclass(frozen=True, slots=True)
class EthosUTarget(WorkerTarget):
    """An Ethos-U; attributes as of :class:`WorkerTarget`, whose worker compiles.

    Its options are ``accelerator``, such as ``ethos-u55-128``; ``system_config`` and
    ``memory_mode``, None for Vela's defaults; ``config``, the path of a Vela configuration file,
    None for the one that comes with Vela.

    Attributes:
        sizes: the MACs a cycle that it comes with.
    """

    sizes: tuple[str, ...] = ()

    def variants(self) -> tuple[str, ...]:
        """None, for too many can be asked for to list; see :meth:`variant`."""
        return ()

    def variant(self, kind: str) -> EthosUTarget:
        """The same NPU in another setting.

        Args:
            kind: MACs a cycle, and after commas a system configuration and a memory mode of Vela's,
                where those are not to be its defaults: ``256`` or
                ``256,Ethos_U55_Deep_Embedded,Sram_Only``.

        Raises:
            UsageError: it does not come with that many, or more is given.
        """
        size, *settings = kind.split(",")
        if size not in self.sizes or len(settings) > len(_SETTINGS):
            raise UsageError(
                f"{kind!r} is no setting of {self.name}",
                hint="write MACS[,SYSTEM_CONFIG[,MEMORY_MODE]] with one of "
                f"{', '.join(self.sizes)} MACs a cycle",
            )
        series = str(self.options["accelerator"]).rpartition("-")[0]
        chosen = {name: setting or None for name, setting in zip(_SETTINGS, settings, strict=False)}
        options = {**self.options, "accelerator": f"{series}-{size}", **chosen}
        return replace(self, name=f"{self.name}:{kind}", options=options)

    def probe(self) -> Availability:
        """Whether Vela can be found, and the reference kernels."""
        compiler, numbers = WorkerTarget.probe(self), tflite.reference.probe()
        if not (compiler.usable and numbers.usable):
            return numbers if compiler.usable else compiler
        return Availability(usable=True, versions={**compiler.versions, **numbers.versions})

    def open(  # type: ignore[override]
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> EthosUSession:
        """Compile a TFLite model; see :meth:`edgeq.target.Target.open`."""
        numbers = tflite.reference.open(artefact, threads=threads, intermediates=intermediates)
        try:
            return EthosUSession(numbers, self.compile(artefact))
        except BaseException:
            numbers.close()
            raise

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Which operators Vela puts on the NPU; see :meth:`edgeq.plan.Planner.plan`."""
        from edgeq.formats.tflite_file import graphs_of
        from edgeq.targets.plans.tflite import compiled_plan

        # refuses what is no sound TFLite file
        tflite.reference.open(artefact, threads=threads).close()
        compiled = self.compile(artefact)
        graphs = graphs_of(read_bytes(artefact, "TFLite model"))
        return compiled_plan(
            graphs, compiled.left, kernel=compiled.summary["accelerator_configuration"]
        )

    def compile(self, artefact: Path) -> Compiled:
        """Run Vela.

        Args:
            artefact: a sound TFLite file.

        Raises:
            TargetError: Vela is absent, fails, or puts no operator on the NPU.
            UsageError: the settings are none of Vela's.
        """
        from edgeq.formats.tflite_file import graph_of

        content = read_bytes(artefact, "TFLite model")
        graph = graph_of(content)
        try:
            told, after = self._compiled(content)
        except TargetError as error:
            raise _explained(error, graph) from error
        summary = {name: fact for name, fact in told.items() if name != "said"}
        compiled = compiled_of(graph, graph_of(after), summary, told["said"])
        if len(compiled.left) == len(graph.operators):
            raise TargetError(
                f"Vela puts no operator of {artefact} on the NPU: "
                f"{next(iter(compiled.left.values()), 'there are none')}",
                hint="export it in integers: edgeq export --to tflite",
            )
        return compiled

    def _compiled(self, content: bytes) -> tuple[dict[str, str], bytes]:
        """Vela's summary with what it ``said``, and the compiled file."""
        options = dict(self.options)
        if options.get("config") is not None:
            options["config_text"] = _text(Path(str(options["config"])))
        key = (sha256(content).hexdigest(), repr(self.place()), repr(sorted(options.items())))
        if key not in _COMPILED:
            _COMPILED[key] = self._compile(content, options)
            if len(_COMPILED) > _KEPT:
                _COMPILED.popitem(last=False)
        return _COMPILED[key]

    def _compile(
        self, content: bytes, options: Mapping[str, object]
    ) -> tuple[dict[str, str], bytes]:
        limits = self.limits
        with Worker(self.place(), self.engine, seconds=limits.open_seconds) as worker:
            model = [np.frombuffer(content, np.uint8)]
            loaded = worker.ask(
                "load",
                model,
                seconds=limits.open_seconds,
                options=options,
                memory_bytes=limits.memory_bytes,
            )
            compiled = worker.ask("get", seconds=limits.run_seconds, limit=MAX_PAYLOAD).arrays
        return {str(name): str(fact) for name, fact in loaded.header["facts"].items()}, compiled[
            0
        ].tobytes()


class EthosUSession(SampleSession):
    """The reference kernels, with Vela's estimate in the place of their time.

    Args:
        numbers: the file on the reference kernels; the session owns it from here on.
        compiled: what Vela made of it.

    Attributes:
        estimated_ms: what the NPU takes for one inference.
        estimate_note: what the estimate rests on, and what it leaves out.
    """

    def __init__(self, numbers: TfliteSession | WorkerSession, compiled: Compiled) -> None:
        self._numbers = numbers
        self.inputs, self.outputs = numbers.inputs, numbers.outputs
        self.grids, self.unreadable = numbers.grids, numbers.unreadable
        self.facts = {**compiled.facts(), "numbers": "LiteRT's reference kernels", **numbers.facts}
        self.estimated_ms, self.estimate_note = compiled.estimated_ms, compiled.estimate_note

    def set_sample(self, sample: Sequence[NDArray[np.generic]]) -> None:
        """Keep the inputs for the next run."""
        self._numbers.set_sample(sample)

    def invoke(self) -> None:
        """Compute the outputs, on the reference kernels."""
        self._numbers.invoke()

    def get_output(self, index: int = 0) -> NDArray[np.generic]:
        """An output of the last run."""
        return self._numbers.get_output(index)

    def inspect(self, sample: Sequence[NDArray[np.generic]]) -> Mapping[str, NDArray[np.generic]]:
        """The readable tensors for one sample."""
        return self._numbers.inspect(sample)

    def close(self) -> None:
        """Free the session."""
        self._numbers.close()


def _explained(error: TargetError, graph: FileGraph) -> UsageError | TargetError:
    """What to do about a failure of Vela's."""
    if any(words in error.what for words in _WRONG_SETTING):
        return UsageError(
            error.what,
            hint="name an accelerator, a system configuration and a memory mode that Vela knows",
        )
    tensors = (
        tensor for operator in graph.operators for tensor in operator.inputs if tensor is not None
    )
    if any(tensor.kind == "INT4" for tensor in tensors):
        return TargetError(
            f"{error.what}; the file stores weights in int4",
            hint="edgeq export --weight-storage int8 stores the same integers in whole bytes, "
            "which Vela packs itself",
        )
    return error


def _text(config: Path) -> str:
    try:
        return config.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the Vela configuration file {config} cannot be read: {error}",
            hint="check the option config",
        ) from error


def _target(series: str, *sizes: str, default: str) -> EthosUTarget:
    npu = f"Arm Ethos-{series.upper()} NPU of {', '.join(sizes)} MACs a cycle"
    return EthosUTarget(
        f"ethos-{series}",
        Capabilities(
            formats=frozenset({"tflite"}),
            storage_dtypes=frozenset({"int8", "int16"}),
            per_channel=True,
            intermediates=True,
            latency="estimated",
            summary=f"{npu}: what Vela makes of a file, and its estimate; answers by LiteRT's "
            "reference kernels",
            dialect=TFLM,
            link=ChainLink(90, ("quantisation", "lowering", "kernel rounding")),
            integers_only=True,
        ),
        engine="vela",
        requirements=("ethos-u-vela==5.2.0",),
        modules=("ethosu.vela",),
        options={
            "accelerator": f"ethos-{series}-{default}",
            "system_config": None,
            "memory_mode": None,
            "config": None,
        },
        sizes=sizes,
    )


u55 = _target("u55", "32", "64", "128", "256", default="128")
u65 = _target("u65", "256", "512", default="256")
u85 = _target("u85", "128", "256", "512", "1024", "2048", default="256")
