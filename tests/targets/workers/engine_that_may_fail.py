"""An engine without a runtime: it adds one to its input, unless its options ask for a fault."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from edgeq.targets.workers.wire import Refused


def versions() -> dict[str, str]:
    return {"numpy": np.__version__}


class Engine:
    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        self.fault, self.runs = options.get("fault", ""), 0
        shape = [1, *options.get("shape", [3, 8, 8])]
        self.inputs = [{"name": "input", "shape": shape, "dtype": "float32"}]
        self.outputs = [{"name": "output", "shape": shape, "dtype": "float32"}]
        self.facts = {"bytes": len(model), "pid": os.getpid()}
        self.hoard: list[np.ndarray] = []
        self._fail("load")

    def _fail(self, when: str) -> None:
        place, _, what = self.fault.partition(":")
        if place != when:
            return
        if what == "segfault":
            sys.stderr.write("the last words\n")
            sys.stderr.flush()
            ctypes.string_at(0)
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "abort":
            os.abort()
        if what == "exit":
            os._exit(3)
        if what == "hang":
            time.sleep(600)
        if what == "spin":
            while True:
                pass
        if what == "memory":
            self.hoard.append(np.empty(2**34, np.uint8))
        if what == "leak":
            self.hoard.append(np.empty(2**29, np.uint8))
        if what == "raise":
            raise ZeroDivisionError("in the runtime\nsecond line")
        if what == "refuse":
            raise Refused("it has an operator that nobody knows")
        if what == "absent":
            raise ImportError("no such runtime")
        if what == "chatter":
            print("printed", flush=True)  # noqa: T201  what a runtime might do
            os.write(1, b"written by C\n")
            subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
        if what == "child":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def set_input(self, sample: np.ndarray) -> None:
        self.sample = sample

    def invoke(self) -> None:
        self.runs += 1
        self._fail("run")
        if self.runs == 3:
            self._fail("third")

    def get_output(self, index: int = 0) -> np.ndarray:
        answer: np.ndarray = self.sample + np.float32(1)
        kind = self.fault.partition(":")[2] if self.fault.startswith("answer") else ""
        if kind == "shape":
            return answer[:, :1]
        if kind == "large":
            return np.zeros((1, 64, 64, 64), np.float32)
        if kind == "dtype":
            return answer.astype(np.int32)
        if kind == "nan":
            return answer * np.float32("nan")
        if kind == "half":
            return answer.reshape(-1)[: answer.size // 2].astype(np.complex64)
        return answer

    def tensors(self) -> dict[str, np.ndarray]:
        return {"input": self.sample, "sum": self.sample + np.float32(1)}
