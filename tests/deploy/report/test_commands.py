"""The commands of a page can be typed where the command behind it was."""

from __future__ import annotations

import pytest
from tests.support.report.documents import made

from edgeq.deploy.report.commands import why


@pytest.mark.parametrize(
    ("command", "after", "told"),
    [
        (
            "edgeq compare out/a.onnx 'my files/b.tflite' --data photos:x --mean=0,0,0 --run r",
            "",
            "edgeq why out/a.onnx 'my files/b.tflite' --data photos:x --mean=0,0,0 --target x,y",
        ),
        ("", "edgeq why in/a.onnx b.tflite --data d", "edgeq why in/a.onnx b.tflite --data d"),
        ("edgeq compare runs/net b.tflite --data d", "edgeq why runs/net b.tflite --data d",
         "edgeq why runs/net b.tflite --data d"),
        ("", "it's done", "edgeq why a.onnx b.tflite --data digits --target x,y"),
    ],
)  # fmt: skip
def test_files_and_data_are_those_of_the_command(command: str, after: str, told: str) -> None:
    document = made("compare", "x", {"next": after}, command=command)
    assert why(document, ["a.onnx", "b.tflite"], ["x", "y"], "digits").startswith(told)


def test_files_of_one_name_keep_apart() -> None:
    document = made("compare", "x", {}, command="edgeq compare one/n.onnx two/n.onnx --data d")
    said = why(document, ["two/n.onnx", "two/n.onnx"], ["x"], "d")
    assert said == "edgeq why two/n.onnx --data d --target x"
