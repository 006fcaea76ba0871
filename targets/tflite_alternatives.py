"""The TFLite interpreter in the packages ``tflite-runtime`` and TensorFlow (``tf.lite``).

Each lives in an environment of its own, because they cannot share one with edgeq's packages:
tflite-runtime ends at 2.14 and needs numpy 1, TensorFlow brings 1 GB with versions of its own. The
kernels are those that each computes int8 networks with by default: XNNPACK in TensorFlow, the
optimised built-in ones in tflite-runtime, whose XNNPACK takes float operators only. Others are
named behind a colon: ``tensorflow:reference``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeq.errors import UsageError
from edgeq.formats.dialect import TFLITE
from edgeq.target import Capabilities, ChainLink
from edgeq.targets.workers.target import WorkerTarget

_KERNELS = {"xnnpack": "XNNPACK", "builtin": "optimised built-in", "reference": "reference"}


@dataclass(frozen=True, slots=True)
class InterpreterTarget(WorkerTarget):
    """The interpreter of one package.

    Attributes as of :class:`WorkerTarget`, the kernel set among the options.
    """

    def variants(self) -> tuple[str, ...]:
        """Its kernel sets."""
        return tuple(_KERNELS)

    def variant(self, kind: str) -> InterpreterTarget:
        """The same interpreter with another kernel set.

        Raises:
            UsageError: there is none such.
        """
        if kind not in _KERNELS:
            raise UsageError(
                f"{self.name} has no kernel set {kind!r}",
                hint=f"choose one of {', '.join(_KERNELS)}",
            )
        summary = self.capabilities.summary.replace(
            _KERNELS[str(self.options["kernels"])], _KERNELS[kind]
        )
        capabilities = replace(self.capabilities, summary=summary, intermediates=kind != "xnnpack")
        return replace(
            self,
            name=f"{self.name}:{kind}",
            capabilities=capabilities,
            options={**self.options, "kernels": kind},
        )


def _target(
    name: str, what: str, kernels: str, module: str, requirements: tuple[str, ...]
) -> InterpreterTarget:
    return InterpreterTarget(
        name,
        Capabilities(
            formats=frozenset({"tflite"}),
            storage_dtypes=frozenset({"int8"}),
            per_channel=True,
            intermediates=kernels != "xnnpack",
            latency="measured",
            summary=f"{what}, {_KERNELS[kernels]} kernels",
            dialect=TFLITE,
            on_request=True,
            link=ChainLink(75, ("quantisation", "lowering", "kernel rounding")),
        ),
        engine="tflite",
        requirements=requirements,
        options={"kernels": kernels, "module": module},
    )


tflite_runtime = _target(
    "tflite-runtime",
    "tflite-runtime 2.14, LiteRT's last release under its old name",
    "builtin",
    "tflite_runtime.interpreter",
    ("tflite-runtime==2.14.0", "numpy==1.26.4"),
)
tensorflow = _target(
    "tensorflow",
    "tf.lite.Interpreter of TensorFlow 2.21",
    "xnnpack",
    "tensorflow.lite.python.interpreter",
    ("tensorflow-cpu==2.21.0",),
)
