"""What becomes of network files that ship in products: calibrated, exported, run, or refused.

    python -m benchmarks.real_files --data FOLDER [--file NAME]

Each file goes through the commands that a user would type. A float one is calibrated, on the
folder's pictures and sound where it takes such, and written as ONNX and TFLite; one that is
quantised already is run as it is. In the table, ``different`` counts weights, biases, scales and
zero points that the written files do not hold as calibrated; ``operator`` is the largest
difference, in LSB, of any operator between both reference runtimes on equal integers. The other
columns are the largest difference of any output value of the whole network: of ``ort-cpu`` and
``tflite-ref`` from ``ort-cpu-ref``, of ``tflite`` and ``tflm`` from ``tflite-ref``; in LSB of that
output where it has a grid in the TFLite file, else in its own unit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.support.command import run
from edgeq.errors import ArtefactError
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

SAMPLES = 4
COLUMNS = (
    *("file", "fed with", "numbers", "different", "operator"),
    *("ort-cpu", "tflite-ref", "tflite", "tflm", "refused"),
)


class RefusedError(Exception):
    """A command ended with an error; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Case:
    """A file and what it is fed with.

    Attributes:
        file: its name in the folder.
        fed: what with, in words.
        flags: how pictures are prepared, where it takes these.
        make: makes arrays by input name, (n, ...), from the folder and the file, where it takes
            these.
    """

    file: str
    fed: str
    flags: tuple[str, ...] = ()
    make: Callable[[Path, Path], Mapping[str, NDArray[np.float32]]] | None = None


def main() -> None:
    """Take each file as far as it comes, and print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the files")
    parser.add_argument("--file", action="append", help="only this file; repeat for several")
    arguments = parser.parse_args()
    print(f"{fingerprint().cpu}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    known = {case.file: case for case in CASES}
    present = {
        path.name for path in arguments.data.iterdir() if path.suffix in (".onnx", ".tflite")
    }
    for name in arguments.file or sorted(present | known.keys()):
        case = known.get(name)
        row = dict.fromkeys(COLUMNS, "")
        row["file"] = f"`{name}`"
        if case is None or name not in present:
            row["refused"] = "this benchmark does not say what it is fed with, or has no such file"
        else:
            row["fed with"] = case.fed
            try:
                with tempfile.TemporaryDirectory() as folder:
                    _fill(row, case, arguments.data, Path(folder))
            except RefusedError as error:
                row["refused"] = str(error).replace(f"{arguments.data}/", "")
        print(f"| {' | '.join(row.values())} |", flush=True)


def _fill(row: dict[str, str], case: Case, folder: Path, work: Path) -> None:
    """Take one file through the commands; what was found by then is in the row if one refuses."""
    source, data = folder / case.file, folder / "images"
    if case.make is not None:
        data = work / "samples.npz"
        arrays: dict[str, Any] = dict(case.make(folder, source))
        np.savez(data, **arrays)
    fed = ("--data", str(data), *case.flags)
    file = source
    if source.suffix == ".onnx" or _is_float(source):
        qdq = work / "net.onnx"
        _edgeq(
            *("calibrate", str(source), *fed, "--samples", str(SAMPLES), "--held-back", "0"),
            *("-o", str(qdq), "--allow-noise"),
        )
        written = _edgeq(
            *("export", str(qdq), "--to", "onnx", "--for", "tflite,tflm", "--requantize"),
            *("-o", str(work / "out"), "--verify", str(data), "--limit", "2"),
        )
        parities = [each["parity"] for each in written["files"]]
        kinds = ("weights", "biases", "scales", "zero_points")
        row["numbers"] = f"{sum(each[kind] for each in parities for kind in kinds):,}"
        row["different"] = str(sum(len(each["different"]) for each in parities))
        operators = [
            tensor["worst"]
            for told in written["verification"].values()
            for tensor in told["tensors"]
        ]
        row["operator"] = str(max(operators))
        file = next((work / "out").glob("*.tflite"))
        both = (str(next((work / "out").glob("*.onnx"))), str(file))
        _compare(row, file, both, ("ort-cpu-ref", "ort-cpu", "tflite-ref"), ("--data", str(data)))
        fed = ("--data", str(data))
    _compare(row, file, (str(file),), ("tflite-ref", "tflite", "tflm"), fed)


def _is_float(file: Path) -> bool:
    files = _edgeq("lint", str(file))["files"]
    rules = {each["rule"] for told in files for each in told["findings"] if not each["node"]}
    return "float-in-fact" in rules


def _compare(
    row: dict[str, str],
    file: Path,
    artefacts: Sequence[str],
    targets: Sequence[str],
    fed: Sequence[str],
) -> None:
    asked = ("-t", ",".join(targets), "--no-tensors", "--limit", "2")
    told = _edgeq("compare", *artefacts, *fed, *asked)["comparison"]
    steps = list(_steps(file))
    for hop in told["from_reference"]:
        # states without an axis of samples are not compared, and then the first output stands alone
        pairs = (
            list(zip(hop["outputs"], steps, strict=True))
            if hop["outputs"]
            else [(hop["output"], steps[0])]
        )
        row[hop["stage"].split(" @ ")[1]] = ", ".join(
            dict.fromkeys(_difference(each, step) for each, step in pairs)
        )
    for failure in told["failures"]:
        row["refused"] += f"{failure['stage']}: {failure['what']} "


def _steps(file: Path) -> Iterator[float]:
    """The step of each output's grid in a TFLite file; 0 of one in float."""
    from ai_edge_litert.interpreter import Interpreter

    for output in Interpreter(model_path=str(file)).get_output_details():
        yield float(output["quantization"][0])


def _difference(drift: Mapping[str, Any], step: float) -> str:
    if drift["max_abs"] == 0:
        return "equal"
    return f"{drift['max_abs'] / step:.0f} LSB" if step else f"{drift['max_abs']:.2g}"


def _edgeq(*arguments: str) -> dict[str, Any]:
    """What a command of edgeq's told.

    Raises:
        RefusedError: it refused.
    """
    done = subprocess.run(
        [sys.executable, "-m", "edgeq", *arguments, "--json"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode in (0, 4):  # 4: a target failed, and the rest is told
        told: dict[str, Any] = json.loads(done.stdout)
        return told
    said = next((line for line in done.stderr.splitlines() if line.startswith("edgeq: ")), "")
    raise RefusedError(f"`{arguments[0]}`: {said.removeprefix('edgeq: ') or done.stderr[-200:]}")


def _speech(folder: Path) -> NDArray[np.float32]:
    """The noisy speech of the folder, in -1 to 1 at 16 kHz."""
    with wave.open(str(folder / "audio" / "gtcrn_mix.wav")) as file:
        if file.getframerate() != 16_000 or file.getnchannels() != 1:
            raise ArtefactError("the sound is not mono at 16 kHz", hint="name the right folder")
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768)


def _frames(folder: Path, hop: int) -> NDArray[np.complex64]:
    """Spectra (n, 257) of windows of 512 samples."""
    windows = np.lib.stride_tricks.sliding_window_view(_speech(folder), 512)[::hop]
    return np.fft.rfft(windows * np.sqrt(np.hanning(513)[:512])).astype(np.complex64)


def _streamed(file: Path, frames: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Inputs of a float network with state, as it meets them while it hears a stream.

    ``frames`` is (n, ...), in its first input's shape. Each further output is the state of the
    input in the same place.
    """
    import onnxruntime as ort

    session = ort.InferenceSession(str(file))
    names = [each.name for each in session.get_inputs()]
    states = [np.zeros(each.shape, np.float32) for each in session.get_inputs()[1:]]
    met: list[list[NDArray[np.float32]]] = []
    for number, frame in enumerate(frames):
        fed = [frame, *states]
        if number % (len(frames) // (4 * SAMPLES)) == 0:
            met.append(fed)
        answers = session.run(None, dict(zip(names, fed, strict=True)))
        states = [np.asarray(each, np.float32) for each in answers[1:]]
    return {
        # a first axis of 1 is the samples' own
        name: (np.concatenate if len(met[0][i]) == 1 else np.stack)([fed[i] for fed in met])
        for i, name in enumerate(names)
    }


def _gtcrn(folder: Path, file: Path) -> dict[str, NDArray[np.float32]]:
    spectra = _frames(folder, 256)
    parts = np.stack([spectra.real, spectra.imag], -1).astype(np.float32)
    return _streamed(file, parts[:, None, :, None, :])


def _dtln(folder: Path, file: Path) -> dict[str, NDArray[np.float32]]:
    return _streamed(file, np.abs(_frames(folder, 128)).astype(np.float32)[:, None, None])


def _notes(folder: Path, _file: Path) -> dict[str, NDArray[np.float32]]:
    speech = _speech(folder)
    places = np.arange(int(len(speech) * 22_050 / 16_000)) * 16_000 / 22_050
    sound = np.interp(places, np.arange(len(speech)), speech).astype(np.float32)
    whole = len(sound) // 43_844
    return {"images": sound[: whole * 43_844].reshape(whole, 43_844, 1)}


def _random(low: float, high: float, *shape: int) -> Callable[[Path, Path], dict[str, Any]]:
    def make(_folder: Path, _file: Path) -> dict[str, NDArray[np.float32]]:
        drawn = np.random.default_rng(0).uniform(low, high, (SAMPLES, *shape))
        return {"images": drawn.astype(np.float32)}

    return make


_SIGNED = ("--scale", "1/127.5", "--mean", "1,1,1")
CASES = (
    Case(
        "ultraface_RFB_320.onnx",
        "pictures",
        ("--resize", "240x320", "--mean", "127,127,127", "--std", "128,128,128"),
    ),
    Case(
        "FastestDet.onnx",
        "pictures",
        ("--resize", "352x352", "--channels", "bgr", "--scale", "1/255"),
    ),
    Case("gtcrn_simple.onnx", "speech, with the states that it makes", make=_gtcrn),
    Case("dtln_model_1.onnx", "speech, with the states that it makes", make=_dtln),
    Case("basic_pitch_nmp.onnx", "speech", make=_notes),
    Case(
        "super_resolution.onnx",
        "pictures in grey",
        ("--resize", "224x224", "--channels", "grey", "--scale", "1/255"),
    ),
    Case("mcunet_vww.tflite", "pictures", ("--resize", "80x80", *_SIGNED)),
    Case("mp_face_detection_short_range.tflite", "pictures", ("--resize", "128x128", *_SIGNED)),
    Case("mww_v2_okay_nabu.tflite", "random features", make=_random(0, 26, 3, 40)),
    Case("micro_speech_quantized.tflite", "random features", make=_random(0, 26, 1960)),
    Case("hello_world_int8.tflite", "random phases", make=_random(0, 6.283, 1)),
)


if __name__ == "__main__":
    run(main)
