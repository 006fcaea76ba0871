"""The page is one file, runs nothing foreign, and is well formed whatever names say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from tests.support.report.documents import every_kind, made

from edgeq.deploy.report.page import render

if TYPE_CHECKING:
    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

HOSTILE = "</script><script>alert(1)</script><img src=http://example.org/x onerror=alert(2)>\"'"
VOID = {"meta", "br", "wbr", "img", "input"}


class Page(HTMLParser):
    """A page taken apart: its tags, the text that is seen, and its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def hostile(value: Json) -> Json:
    """JSON in which every text is hostile but the words that documents are read by."""
    if isinstance(value, dict):
        return {
            name: item
            if name in ("schema", "outcome", "state", "severity", "kind")
            else hostile(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) else value


def hostile_documents() -> list[Document]:
    found = []
    for document in every_kind():
        content: Any = hostile(json.loads(json.dumps(document.content)))
        found.append(
            made(
                document.kind,
                HOSTILE,
                content,
                HOSTILE,
                HOSTILE,
                pictures=document.pictures,
                layers=hostile(json.loads(json.dumps(document.layers))),
                titles=dict.fromkeys(document.titles, HOSTILE),
                answers={name: dict.fromkeys(v, HOSTILE) for name, v in document.answers.items()},
            )
        )
    return found


def test_every_part_is_there_and_in_the_contents() -> None:
    page = Page(render(every_kind(), "a title"))
    assert not page.open
    links = [link["href"] for link in page.named("a")][1:]
    assert links == [
        f"#{key}"
        for key in ("gate", "why", "diff", "trained", "trials", "files", "accuracy", "layers",
                    "drift", "network", "flipped", "tradeoff", "latency", "bounds", "lint", "more",
                    "repeat")
    ]  # fmt: skip
    assert {f"#{part.get('id')}" for part in page.named("section")} >= set(links)
    assert "a title" in page.text


def test_the_page_is_one_file_that_loads_nothing() -> None:
    html = render(every_kind(), "t")
    page = Page(html)
    for tag, attributes in page.tags:
        assert (attributes.get("src") or "data:").startswith("data:"), tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    assert not page.named("link")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert not re.search(r"@import|url\(", style[1])


def test_the_policy_allows_exactly_the_script_of_the_page() -> None:
    page = Page(render(every_kind(), "t"))
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [meta["content"] or "" for meta in page.named("meta") if "http-equiv" in meta]
    assert policies[0].startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")


def test_what_foreign_strings_say_is_shown_and_not_done() -> None:
    page = Page(render(hostile_documents(), HOSTILE))
    assert not page.open
    assert len(page.named("script")) == 1
    assert all((image["src"] or "").startswith("data:") for image in page.named("img"))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count(HOSTILE) > 40


def test_each_chart_has_words_and_a_table_behind_it() -> None:
    page = Page(render(every_kind(), "t"))
    charts = [each for each in page.named("div") if (each.get("class") or "").startswith("chart")]
    assert len(charts) >= 10
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert page.text.count("The same in numbers") == len(charts) / 2
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(head.get("scope") in {"col", "row"} for head in page.named("th"))


def test_times_that_cannot_be_trusted_are_not_drawn() -> None:
    html = render(every_kind(), "t")
    labels = [each for each in re.findall(r'aria-label="([^"]*)"', html) if "Median time" in each]
    assert (
        labels
        == ["Median time of one run: net.tflite @ tflite 0.800 ms; net.onnx @ ort-cpu 1.20 ms"] * 2
    )
    assert "others used the processors" in html
    assert "7.50" in html


def test_a_page_of_nothing_is_a_page() -> None:
    assert "Nothing here is a verdict" in Page(render([], "t")).text
