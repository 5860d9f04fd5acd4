"""The page of the smoke study in a real browser: `make browser`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("altair")
pytest.importorskip("gymnasium_robotics")
pytest.importorskip("joblib")
playwright = pytest.importorskip("playwright.sync_api")

SMOKE = Path(__file__).parents[2] / "benchmarks" / "settings" / "smoke.toml"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = "from d3rlpy_mbo.cli import main; main()"

pytestmark = [pytest.mark.slow, pytest.mark.training]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """The smoke study with a diagnosis of one of its models."""
    root = tmp_path_factory.mktemp("browser")
    environment = {**os.environ, "MINARI_DATASETS_PATH": str(root / "minari")}

    def run(*arguments: object) -> None:
        command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
        subprocess.run(command, env=environment, check=True, cwd=root)

    run("study", SMOKE, "--out", "smoke", "--n-jobs", 1)
    model = root / "smoke" / "smoke-umaze-sparse-v0" / "romi" / "seed-0"
    given = "--dataset", "smoke/umaze-sparse-v0", "--load", model / "imagination.mbo"
    run("diagnose", *given, "--json", model / "diagnosis.json")
    run("report", "smoke", "--html", root / "page.html")
    return root / "page.html"


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, page_file):
    """Opens the page; what it asked the network for and said on the console is kept."""
    contexts = []

    def open_page(width=1200, **settings):
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, **settings)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(page_file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def alive(page):
    """Waits until the browser has drawn every chart anew."""
    n_charts = page.locator("figure").count()
    assert n_charts > 10
    page.wait_for_function(
        "n => document.querySelectorAll('figure.alive').length === n", arg=n_charts
    )
    return page


def figure(page, title):
    return page.locator("figure").filter(has_text=title).first


def test_charts_come_alive_without_an_error_or_a_request(opened, page_file):
    page = alive(opened())
    assert page.asked == [page_file.as_uri()]
    assert page.said == []


def test_a_click_in_the_legend_hides_a_method_and_another_shows_it_again(opened):
    page = alive(opened())
    curves = figure(page, "Learning curves")
    points = curves.locator("path[aria-roledescription=point]")
    lines = curves.locator("path[aria-roledescription='line mark']")
    before = points.count(), lines.count()
    assert before == (8, 4)  # four methods, two evaluations each
    entry = curves.locator(".role-legend-label text", has_text="romi")
    entry.click(force=True)
    page.wait_for_function(
        "f => f.querySelectorAll('path[aria-roledescription=point]').length === 6",
        arg=curves.element_handle(),
    )
    assert lines.count() == 3
    entry.click(force=True)
    page.wait_for_function(
        "f => f.querySelectorAll('path[aria-roledescription=point]').length === 8",
        arg=curves.element_handle(),
    )
    assert page.said == []


def test_pointing_at_a_curve_tells_its_numbers(opened):
    page = alive(opened())
    point = figure(page, "Learning curves").locator("path[aria-roledescription=point]")
    point.last.hover(force=True)
    told = page.locator("#vg-tooltip-element.visible")
    told.wait_for()
    assert "gradient steps" in told.inner_text()
    assert "20" in told.inner_text()


def test_without_scripts_there_are_drawings_and_tables(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("figure svg").count() == page.locator("figure").count() > 10
    assert page.locator("td.number").count() > 100
    assert not page.locator(".hint").is_visible()


def test_it_is_dark_where_the_reader_is_and_light_on_paper(opened):
    def ground(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def ink(page):
        script = "getComputedStyle(document.querySelector('figure svg text')).fill"
        return page.evaluate(script)

    light, dark = alive(opened()), alive(opened(color_scheme="dark"))
    assert ground(light) == "rgb(255, 255, 255)"
    assert ground(dark) == "rgb(20, 23, 28)"
    assert ink(light) != ink(dark)
    dark.emulate_media(media="print", color_scheme="dark")
    assert ground(dark) == ground(light)
    assert ink(dark) == ink(light)
    assert len(dark.pdf()) > 10_000


def test_nothing_is_wider_than_a_telephone(opened):
    page = alive(opened(width=360))
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    wide, window = page.evaluate(widths)
    assert wide <= window
