"""The drawing of a network: no two tensors share a lane while both are alive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.report.documents import every_kind

from edgeq.deploy.report.sections.network import lay_out, section


def test_a_residual_block_has_a_lane_beside_its_layers() -> None:
    rows = lay_out([([], "a"), (["a"], "b"), (["b"], "c"), (["c", "a"], "d")])
    assert [row.lane for row in rows] == [0, 1, 1, 0]
    assert [row.passes for row in rows] == [(), (0,), (0,), ()]
    assert sorted(rows[3].enters) == [0, 1]
    assert not rows[3].leaves


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=12))
def test_lanes_never_collide(reads: list[list[int]]) -> None:
    nodes = [([f"t{i}" for i in read if i < n], f"t{n}") for n, read in enumerate(reads)]
    rows = lay_out(nodes)
    alive: dict[str, int] = {}
    for n, ((inputs, output), row) in enumerate(zip(nodes, rows, strict=True)):
        assert sorted(row.enters) == sorted({alive[name] for name in inputs})
        later = {name for read, _ in nodes[n + 1 :] for name in read}
        assert set(row.passes) == {lane for name, lane in alive.items() if name in later}
        assert row.lane not in row.passes
        alive = {name: lane for name, lane in alive.items() if name in later}
        assert row.leaves == (output in later)
        if row.leaves:
            alive[output] = row.lane
        assert len(set(alive.values())) == len(alive)


def test_two_files_stand_side_by_side_with_their_drift() -> None:
    drawn = section(every_kind())
    assert drawn.count('<ol class="network"') == 2
    assert "<h3>net.onnx @ ort-cpu-ref</h3>" in drawn
    assert "<h3>net.tflite @ tflite-ref</h3>" in drawn
    assert drawn.count('data-tensor="layer1.0.conv1"') == 2
