"""The page as a reader has it: in Chromium, on a desk, on a phone, in the dark and on paper."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.deploy.report.test_page import hostile_documents
from tests.support.report.documents import comparison, every_kind, graph, made

from edgeq.deploy.report.page import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
DESK, PHONE, PAPER = 1440, 420, 688  # pixels; the last is what A4 leaves between its margins
FOLD = 900
SHEET = 1016  # pixels of A4 from margin to margin, downward
MAX_BYTES = 8_000_000
MAX_SECONDS = 2.0


@dataclass
class Seen:
    """A page that is open, and what the browser complained about."""

    page: Any
    complaints: list[str]
    folder: Path

    def load(self, html: str, name: str) -> None:
        """Open a page from a file, as a reader does."""
        self.complaints.clear()
        (self.folder / name).write_text(html, encoding="utf-8")
        self.page.goto((self.folder / name).as_uri())

    def resize(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": FOLD})

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)

    def violations(self, rules: dict[str, Any]) -> list[str]:
        """What axe-core finds, in words; drawings are hidden from readers, and so from it."""
        context = {"exclude": [[".chart svg"], [".gutter"], [".key svg"]]}
        options = {"resultTypes": ["violations"], **rules}
        found = axe.Axe().run(self.page, context, options).response["violations"]
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": DESK, "height": FOLD}, reduced_motion="reduce")
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text) if said.type in ("error", "warning") else None
            ),
        )
        page.on(
            "request",
            lambda asked: complaints.append(asked.url) if asked.url[:4] == "http" else None,
        )
        yield Seen(page, complaints, tmp_path_factory.mktemp("pages"))
        browser.close()


@pytest.fixture(scope="module")
def small(seen: Seen) -> Seen:
    """A page of every kind."""
    seen.load(render(every_kind(), "a run"), "small.html")
    return seen


def bottom(seen: Seen, selector: str) -> float:
    box = seen.page.locator(selector).first.bounding_box()
    return float(box["y"] + box["height"])


@pytest.mark.parametrize(("width", "steps"), [(DESK, ".steps"), (PHONE, ".first h2")])
def test_the_first_screen_has_the_verdict_the_lights_and_what_to_do(
    small: Seen, width: int, steps: str
) -> None:
    small.resize(width)
    assert bottom(small, "h1") < FOLD / 3
    assert bottom(small, ".lights li") < FOLD
    assert bottom(small, steps) < FOLD
    assert small.ask("document.documentElement.scrollWidth") == width
    shown = "wide" if width == DESK else "narrow"
    assert small.page.locator(f".chart.{shown} svg").first.is_visible()
    assert small.page.locator(".chart svg:visible").count() == small.page.locator(
        f".chart.{shown}"
    ).count() - (small.page.locator(f"details:not([open]) .chart.{shown}").count())


@pytest.mark.parametrize(
    ("scheme", "rules"),
    [("light", {}), ("dark", {"runOnly": {"type": "rule", "values": ["color-contrast"]}})],
    ids=["light", "dark"],
)
def test_nothing_keeps_people_from_reading_it(
    small: Seen, scheme: str, rules: dict[str, Any]
) -> None:
    small.resize(DESK)
    small.page.emulate_media(color_scheme=scheme)
    paper = small.ask("getComputedStyle(document.querySelector('.verdict')).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert small.violations(rules) == []
    small.page.emulate_media(color_scheme="light")


def test_a_desk_has_room_for_each_table(small: Seen) -> None:
    small.resize(DESK)
    hidden = small.ask(
        "[...document.querySelectorAll('.scroll')].filter(each => each.getClientRects().length &&"
        " each.scrollWidth > each.clientWidth + 1).map(each => each.ariaLabel)"
    )
    assert hidden == []


def test_charts_are_read_out_by_keys_and_by_pointer(small: Seen) -> None:
    small.resize(DESK)
    figure = small.page.locator("#drift figure")
    figure.locator("button[data-step='1']").focus()
    small.page.keyboard.press("Enter")
    readout = figure.locator(".readout")
    assert readout.inner_text().startswith("layer1.0.conv1 · net.onnx @ ort-cpu-ref ")
    small.page.keyboard.press("Enter")
    assert readout.inner_text().startswith("layer1.0.conv2 · ")
    svg = figure.locator(".chart.wide svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    small.page.mouse.move(box["x"] + box["width"] * 0.97, box["y"] + 80)
    assert readout.inner_text().startswith("layer1.3.conv2 · ")
    assert figure.locator(".chart.wide .cursor.on").count() == 1


def test_the_keyboard_reaches_everything_in_order(small: Seen) -> None:
    small.resize(DESK)
    small.ask("document.activeElement.blur(), window.scrollTo(0, 0)")
    small.page.locator(".skip").focus()
    assert small.page.locator(".skip").bounding_box()["x"] > 0
    small.page.keyboard.press("Enter")
    assert small.ask("document.activeElement.id") == "main"
    small.page.keyboard.press("Tab")
    assert small.ask("document.activeElement.closest('section').id") == "gate"
    small.ask("document.querySelector('.first summary').focus()")
    small.page.keyboard.press("Enter")
    assert small.page.locator(".first details[open]").count() == 1


def test_two_drawings_of_a_network_move_together(small: Seen) -> None:
    small.resize(PHONE)
    first, second = small.page.locator(".network").all()
    first.evaluate("list => list.style.maxHeight = '80px'")
    second.evaluate("list => list.style.maxHeight = '80px'")
    first.locator("li").nth(1).hover()
    marked = second.locator("li.same")
    assert marked.get_attribute("data-tensor") == "layer1.0.conv2"
    first.evaluate("list => list.scrollTop = list.scrollHeight")
    small.ask("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    assert second.evaluate("list => list.scrollTop") > 0


def test_a_chart_is_saved_as_a_picture(small: Seen) -> None:
    small.resize(DESK)
    with small.page.expect_download() as waited:
        small.page.locator("#drift button.png").click()
    path = waited.value.path()
    assert path.read_bytes().startswith(b"\x89PNG")


def test_paper_cuts_nothing(small: Seen) -> None:
    small.resize(PAPER)
    small.page.emulate_media(media="print")
    small.ask("window.dispatchEvent(new Event('beforeprint'))")
    wide = small.ask(
        "[...document.querySelectorAll('body *')].filter(each => each.getClientRects().length &&"
        " each.getBoundingClientRect().right > innerWidth + 1 && !each.closest('svg'))"
        ".map(each => each.outerHTML.slice(0, 120))"
    )
    assert wide == []
    high = small.page.locator("svg").evaluate_all(
        "all => Math.max(...all.map(each => each.getBoundingClientRect().height))"
    )
    assert high < SHEET
    assert small.page.locator("nav, button").filter(visible=True).count() == 0
    pdf = small.page.pdf(prefer_css_page_size=True, print_background=True)
    assert pdf.startswith(b"%PDF")
    small.ask("window.dispatchEvent(new Event('afterprint'))")
    assert small.page.locator("#gate details[open]").count() == 0
    small.page.emulate_media(media="screen")


def test_the_browser_has_nothing_to_complain_of(small: Seen) -> None:
    assert small.complaints == []


def test_hostile_names_stay_text(seen: Seen) -> None:
    seen.page.on("dialog", lambda dialog: seen.complaints.append(f"a dialog: {dialog.message}"))
    seen.load(render(hostile_documents(), "</title><script>alert(3)</script>"), "hostile.html")
    assert seen.complaints == []
    assert seen.page.title() == "</title><script>alert(3)</script>"
    assert seen.page.locator("script").count() == 1


def test_sixty_layers_twenty_runs_and_ten_targets_are_no_burden(seen: Seen) -> None:
    runs = [
        made(
            "compare",
            f"run-{n}",
            {"comparison": comparison(60, (0, 0, 0, 0, 3, 5, 9, 12, 0, 1), lost=10 * n)},
            f"2026-03-{n + 1:02}",
            graphs={"net.onnx": graph(60), "net.tflite": graph(60)},
        )
        for n in range(20)
    ]
    html = render(runs, "twenty runs")
    assert len(html.encode()) < MAX_BYTES
    session = seen.page.context.new_cdp_session(seen.page)
    session.send("Performance.enable")
    before = _processor_s(session)
    seen.load(html, "big.html")
    assert _processor_s(session) - before < MAX_SECONDS
    assert seen.page.locator("#history tbody tr").count() == 20


def _processor_s(session: Any) -> float:
    """Processor time that the page's process has taken: a busy machine does not change it."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "ProcessTime"))
