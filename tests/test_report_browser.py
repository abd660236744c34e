"""The report in a real headless Chromium: what a person would see and press."""

import dataclasses
import json
import math
import os
import shutil
import threading
import time

import pytest

from reports import append, episode, group, line, tool_episode, write, write_run
from test_report import EVIL
from turngym.report.folder import RunFolder
from turngym.report.html import write_report
from turngym.report.server import serve
from turngym.trainers.ledger import Credited, write_ledger
from turngym.types import EpisodeStatus

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("TURNGYM_CHROMIUM") or next(
    (path for name in NAMES if (path := shutil.which(name))), None
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
MANY = 10_000


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get("TURNGYM_REQUIRE_BROWSER"):
            pytest.fail("no Chromium on the PATH")
        pytest.skip("needs a browser: apt-get install chromium")
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs a browser: pip install playwright"
    )
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Page:
    """A page that fails the test for every error and every request that leaves it."""

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "console", lambda m: m.type in ("error", "warning") and self.wrong.append(m.text)
        )
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.asked = []
        self.page.goto(address)
        self.until("document.getElementById('loading').hidden")

    def until(self, condition, seconds=30):
        """Wait for a condition; the page's policy forbids the `eval` that Playwright would wait with."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            self.page.wait_for_timeout(20)

    def texts(self, selector):
        return self.page.locator(selector).all_inner_texts()

    def count(self):
        return self.page.locator("#count span").first.inner_text()


@pytest.fixture
def open_page(browser):
    opened = []

    def make(address, **options):
        opened.append(Page(browser, address, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.context.close()
        assert each.wrong == []


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two runs: groups with credit and details, tools, a hostile trajectory, a foreign failure."""
    folder = tmp_path_factory.mktemp("report")
    steps = [group(f"{s}/0", [1.0, 0.0, 1.0, 0.5]) for s in range(3)]
    steps[1] += [
        episode("1/1/0", 0.0, task=EVIL, group="evil", replies=(EVIL, "looking for teapots"))
    ]
    write_run(
        folder / "a", steps, evaluations={"000003-after-1": [episode("test-0/0", task="held out")]}
    )
    write_run(folder / "b", steps, config={"credit": {"method": "rloo"}})
    turn = {"low": 0.8, "high": 1.28, "trained": [1, 0, 1], "ratio": [0.5, 1, 2]}
    turn |= {"entropy": [0.1, 0.2, 0.3], "weight": [1, 2, 1], "clipped": 0.5}
    turn |= {"turn_ratio": 1.125}
    (folder / "a/details").mkdir()
    detail = {"episode": "0/0/0", "turns": [turn, turn], "format_version": 1}
    append(folder / "a/details/step-000000.jsonl", detail)
    rows = [
        Credited(
            episode=t.episode,
            method="grpo",
            counts=True,
            outcome=t.outcome,
            rewards=(math.nan,) * 2,
            turn=(0.75, 0.75),
            token=((1.0, -1.0, 0.5),) * 2,
        )
        for t in steps[0]
    ]
    write_ledger(folder / "a/credit/step-000000.jsonl", rows)
    broken = episode("broken", None, replies=(), success=None, status=EpisodeStatus.ENV_ERROR)
    broken = dataclasses.replace(broken, error="Traceback: the shelf fell down")
    write(folder / "tools.jsonl", [tool_episode(), broken])
    runs = [RunFolder.open(folder / name) for name in ("a", "b", "tools.jsonl")]
    return write_report(runs, folder / "report.html").path.as_uri()


def test_it_loads_without_errors_and_asks_for_nothing(open_page, report):
    page = open_page(report)
    assert page.asked == [report]
    titles = page.texts(".chart figcaption span:first-child")
    assert titles[:3] == ["success", "outcome", "turns"] and "episodes by ending" in titles
    assert page.page.locator(".chart path.band").count() > 0
    assert page.page.title() == "turngym: a, b, tools"


def test_nothing_in_a_trajectory_runs(open_page, report):
    page = open_page(report + "#trajectories")
    page.page.fill("#search", "owned")
    page.until("document.querySelectorAll('.row').length === 2")
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("j")
    page.page.wait_for_selector(".turn")
    assert page.page.title() == "turngym: a, b, tools"
    assert page.texts("#detail h2") == [EVIL]
    assert EVIL in page.page.locator("#turn-0 .reply").inner_text()
    assert page.page.locator("#detail img, #detail script").count() == 0


def test_filters(open_page, report):
    page = open_page(report + "#trajectories")
    assert page.count() == "29 of 29"
    tab = page.page

    def after(act):
        act()
        return page.count()

    assert after(lambda: tab.select_option("#success", "false")) == "15 of 29"
    assert after(lambda: tab.select_option("#run", "1")) == "7 of 29"
    assert after(lambda: tab.fill("#outcome-min", "0.4")) == "3 of 29"
    assert after(lambda: tab.fill("#step-max", "1")) == "2 of 29"
    tab.evaluate("document.getElementById('filters').reset()")
    assert after(lambda: tab.select_option("#stage", "after-1")) == "1 of 29"
    tab.evaluate("document.getElementById('filters').reset()")
    tab.select_option("#stage", "")
    tab.click("#signals summary")
    assert after(lambda: tab.click(".chip[data-kind=bad_query]")) == "1 of 29"
    assert page.texts(".row b") == ["tools-7"]
    tab.click(".chip[data-kind=bad_query]")
    tab.fill("#search", "teapots")
    page.until("document.getElementById('count').innerText.startsWith('2 of 29')")
    tab.fill("#search", "no such words")
    page.until("document.getElementById('count').innerText.startsWith('0 of 29')")
    assert tab.locator(".row").count() == 0


def test_an_episode_that_broke_before_its_first_turn_says_why(open_page, report):
    page = open_page(report + "#trajectories/2/tools.jsonl/1")
    page.page.wait_for_selector("#detail .note")
    assert page.texts("#detail .note") == ["Traceback: the shelf fell down"]
    assert "not counted" in page.page.locator("#detail .facts").first.inner_text()
    page.page.keyboard.press("n")  # there is no turn to go to
    page.page.select_option("#success", "null")
    assert page.count() == "1 of 29"


def test_a_trajectory_shows_credit_tokens_masks_ratios_and_clip_range(open_page, report):
    page = open_page(report + "#trajectories/0/step-000000.jsonl/0")
    page.page.wait_for_selector(".tokens span")
    methods = page.texts(".matrix tbody th")
    assert methods[0] == "grpo" and {"rloo", "gigpo", "mapo"} <= set(methods)
    assert page.texts(".matrix tr.own td") == ["+0.750", "+0.750"]
    tokens = page.page.locator("#turn-0 .tokens span")
    assert tokens.count() == 3
    assert [("masked" in (t.get_attribute("class") or "")) for t in tokens.all()] == [
        False,
        True,
        False,
    ]
    colours = tokens.evaluate_all("all => all.map(t => getComputedStyle(t).backgroundColor)")
    assert len(set(colours)) == 3  # +1, -1 and +0.5
    measures = page.page.locator("#turn-0 .measures").inner_text()
    assert "clip range 0.800 to 1.28" in measures and "ratio 0.500 to 2.000" in measures
    assert "of the turn 1.125" in measures and "clipped 50 %" in measures
    assert "weight 1 to 2" in measures
    page.page.locator("#turn-0 .tokens").focus()
    page.page.keyboard.press("ArrowRight")
    inspector = page.page.locator("#inspector").inner_text()
    assert "advantage +1" in inspector and "ratio 0.5000 in [0.800, 1.28]" in inspector
    page.page.select_option('select[aria-label="Colour by"]', "entropy")
    assert page.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Colour by"


def test_everything_can_be_reached_with_keys(open_page, report):
    page = open_page(report)
    keys = page.page.keyboard
    focused = "document.activeElement.id"
    keys.press("2")
    assert page.page.locator("#view-trajectories").is_visible()
    keys.press("/")
    assert page.page.evaluate(focused) == "search"
    keys.type("jjj")  # letters in a field are text
    assert page.page.input_value("#search") == "jjj"
    page.page.fill("#search", "")
    page.until("document.getElementById('count').innerText.startsWith('29')")
    keys.press("Escape")
    keys.press("j")
    keys.press("j")
    assert page.page.locator('.row[aria-selected="true"]').get_attribute("aria-posinset") == "2"
    keys.press("k")
    page.page.locator("#list").focus()
    keys.press("End")
    assert page.page.locator('.row[aria-selected="true"]').get_attribute("aria-posinset") == "29"
    keys.press("Enter")
    assert page.page.evaluate(focused) == "detail"
    keys.press("?")
    assert page.page.locator("#help").is_visible()
    keys.press("Escape")
    keys.press("3")
    assert "credit.method" in page.page.locator("#view-settings").inner_text()
    page.page.locator("#tab-settings").focus()
    keys.press("ArrowRight")
    assert page.page.evaluate(focused) == "tab-curves"
    page.page.locator(".chart svg").first.focus()
    keys.press("ArrowLeft")
    keys.press("ArrowLeft")
    assert page.texts(".chart .read")[0].startswith("step 2:")


CONTRAST = """
() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = (top, under) => { const a = top[3] ?? 1; return [0, 1, 2].map((i) => top[i] * a + under[i] * (1 - a)); };
  const light = (rgb) => { const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const rgba = (text) => { const canvas = rgba.canvas ??= new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true }); canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
  const ground = (element) => { const layers = []; for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor)); return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true }) || ["SCRIPT", "STYLE", "TITLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const svg = element.namespaceURI.endsWith("svg");
    const back = ground(element), ink = over(rgba(svg ? style.fill : style.color), back);
    const [high, low] = [light(ink), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    seen++;
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className.baseVal ?? element.className}: ${walker.currentNode.data.slice(0, 30)}`);
  }
  const strokes = [...document.querySelectorAll(".chart path:not(.raw):not(.band)")].filter((p) => p.checkVisibility());
  for (const path of strokes) {
    const back = ground(path.closest("figure")), ink = over(rgba(getComputedStyle(path).stroke), back);
    const [high, low] = [light(ink), light(back)].sort((a, b) => b - a);
    if ((high + 0.05) / (low + 0.05) < 3) bad.push(`line ${getComputedStyle(path).stroke}`);
  }
  return { bad, seen };
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_meets_wcag_aa(open_page, report, scheme):
    page = open_page(report, color_scheme=scheme)
    assert page.page.evaluate("document.documentElement.dataset.theme") == scheme
    for view in "123":
        page.page.keyboard.press(view)
        if view == "2":
            page.page.keyboard.press("j")
            page.page.wait_for_selector(".tokens span")
            page.page.click("#signals summary")
            page.page.click(".chip")
            page.page.click(".chip")
        found = page.page.evaluate(CONTRAST)
        assert found["seen"] > 20 and found["bad"] == []


def test_every_control_has_a_name(open_page, report):
    page = open_page(report + "#trajectories")
    page.page.keyboard.press("j")
    page.page.wait_for_selector(".turn")
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [tabindex='0'], [role=img]")]
        .filter((e) => !(e.getAttribute("aria-label") || e.labels?.length || e.textContent?.trim()))
        .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []


SCROLL = """
async () => {
  const list = document.getElementById("list");
  const frames = [];
  const bottom = list.scrollHeight - list.clientHeight;
  let before = performance.now();
  for (let frame = 0; frame <= 120; frame++) {
    list.scrollTop = (bottom * frame) / 120;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - before);
    before = now;
  }
  frames.sort((a, b) => a - b);
  return { median: frames[60], worst: frames[115], rows: document.querySelectorAll(".row").length, last: list.querySelector(".row:last-child").innerText };
}
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    steps = [
        [
            episode(f"{s}/{i // 10}/{i % 10}", float(i % 2), group=f"{s}/{i // 10}")
            for i in range(100)
        ]
        for s in range(MANY // 100)
    ]
    return write_report([RunFolder.open(write_run(folder / "run", steps))], folder / "r.html")


def cpu_seconds(client):
    """Of the page's main thread: wall time on a shared machine measures the neighbours."""
    metrics = client.send("Performance.getMetrics")["metrics"]
    return {each["name"]: each["value"] for each in metrics}["TaskDuration"]


def test_ten_thousand_trajectories_scroll_smoothly(open_page, many):
    assert many.trajectories == MANY and many.left_out == 0 and many.bytes < 50e6
    page = open_page(many.path.as_uri() + "#trajectories")
    assert page.count() == f"{MANY} of {MANY}"
    client = page.context.new_cdp_session(page.page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = cpu_seconds(client)
    found = page.page.evaluate(SCROLL)
    work_ms = 1000 * (cpu_seconds(client) - before) / 121
    print(json.dumps({**found, "work_ms": work_ms}))
    assert found["rows"] < 60
    # 60 frames a second leave 16.7 ms each for script, layout and paint together.
    assert work_ms < 8
    page.page.fill("#search", "page 1 of 99/9/9")
    page.until(f"document.getElementById('count').innerText.startsWith('1 of {MANY}')")
    page.until("!document.getElementById('count').innerText.includes('searching')")


def test_live_it_grows_and_keeps_what_was_chosen(open_page, tmp_path):
    run = write_run(tmp_path / "run", [group("0/0", [1.0, 0.0])])
    server = serve([RunFolder.open(run)])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        page = open_page(f"http://127.0.0.1:{server.server_address[1]}/#trajectories")
        page.page.keyboard.press("j")
        page.page.wait_for_selector(".turn")
        trajectories = group("1/0", [1.0, 1.0])
        write(run / "trajectories/step-000001.jsonl", trajectories)
        append(run / "metrics.jsonl", line(1, trajectories))
        page.until("document.getElementById('count').innerText.startsWith('4 of 4')")
        assert page.page.locator('.row[aria-selected="true"]').count() == 1
        assert page.texts("#detail h2") == ["task-0/0"]
        assert "live, 2 steps" in page.page.locator("#live").inner_text()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
