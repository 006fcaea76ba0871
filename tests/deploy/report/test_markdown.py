"""The verdict as Markdown, in which no name is markup."""

from __future__ import annotations

from tests.support.report.documents import every_kind, made

from edgeq.deploy.report.markdown import plain, render


def test_it_says_what_the_first_screen_says() -> None:
    lines = render(every_kind(), "run").splitlines()
    assert lines[0] == "# run"
    assert lines[2] == "**✕ wrong: The gate failed on 2 of 4 checks: 1 weight differs**"
    assert any(line.startswith("| ✕ wrong | net.tflite @ tflite | ") for line in lines)
    assert "1. `edgeq diff a b`" in lines
    assert lines[-1].startswith(f"{len(lines) - lines.index('## Do next') - 2}. ")


def test_names_are_text() -> None:
    assert plain("<b>|`x`\n[y](z)") == "\\<b\\>\\|\\`x\\` \\[y\\]\\(z\\)"
    assert "<b>" not in render([made("lint", "<b>", {"files": [{"file": "<b>"}]})], "<b>")
