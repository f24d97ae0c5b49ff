"""The report in a real browser: it opens offline, sorts, filters, fits a phone."""

import json
import shutil
import warnings

import pytest
from optuna.trial import TrialState

from tests.tuner.reports import nasty_study
from tests.tuner.studies import make_study, make_trial, peaked
from tuner.report.html import write_report

selenium = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in (CHROMIUM, DRIVER), reason="needs chromium and chromedriver on the path"
    ),
]


@pytest.fixture(scope="module")
def browser():
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
    yield driver
    with warnings.catch_warnings():
        # Its driver's pipe is left to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    few = make_study(
        make_trial(0.70, dropout=0.1, activation="tanh"),
        make_trial(0.9, dropout=0.123456),
        make_trial(0.8, dropout=0.123455),
        make_trial(0.20, dropout=0.45, state=TrialState.PRUNED, stopped="pruned"),
        make_trial(dropout=0.05, state=TrialState.FAIL, error="RuntimeError: cuda"),
    )
    studies = {"few": few, "many": make_study(*peaked(1000)), "nasty": nasty_study()}
    return {name: write_report(s, folder / f"{name}.html") for name, s in studies.items()}


@pytest.fixture
def show(browser, pages):
    def open_page(name, width=1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        browser.get(pages[name].as_uri())
        return browser

    return open_page


def numbers(browser):
    rows = browser.find_elements("css selector", "#trials tbody tr")
    return [int(row.find_element("css selector", "td").text.strip("★ ")) for row in rows]


def head(browser, name):
    heads = browser.find_elements("css selector", "#trials thead th")
    return next(th for th in heads if th.text.split()[0] == name)


def button(browser, name):
    return head(browser, name).find_element("css selector", "button")


@pytest.mark.parametrize("name", ["few", "many", "nasty"])
def test_it_loads_without_an_error_and_fetches_nothing(name, show):
    browser = show(name)

    entries = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [
        e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"
    ]
    assert browser.get_log("browser") == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert any(url.startswith("file:") for url in requests)
    resources = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert browser.execute_script(resources) == []
    shown = "return [...document.images].every((image) => image.complete && image.naturalWidth > 9)"
    assert browser.execute_script(shown)


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(show):
    browser = show("few")
    assert numbers(browser) == [1, 2, 0, 3, 4]
    assert head(browser, "value").get_attribute("aria-sort") == "descending"

    button(browser, "dropout").click()
    assert numbers(browser) == [4, 0, 2, 1, 3]
    assert head(browser, "dropout").get_attribute("aria-sort") == "ascending"
    assert head(browser, "value").get_attribute("aria-sort") == "none"

    button(browser, "dropout").click()
    assert numbers(browser) == [3, 1, 2, 0, 4]
    assert head(browser, "dropout").get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("clicks", [1, 2])
def test_empty_cells_come_last_both_ways(clicks, show):
    browser = show("few")

    for _ in range(clicks):
        button(browser, "error").click()

    assert numbers(browser)[0] == 4
    for _ in range(clicks):
        button(browser, "value").click()
    assert set(numbers(browser)[-2:]) == {3, 4}


def test_keys_sort_too(show):
    browser = show("few")
    first = button(browser, "number")
    browser.execute_script("arguments[0].focus()", first)

    first.send_keys("\ue007")  # Enter
    assert numbers(browser) == [0, 1, 2, 3, 4]
    first.send_keys(" ")
    assert numbers(browser) == [4, 3, 2, 1, 0]

    first.send_keys("\ue004")  # Tab
    assert browser.switch_to.active_element.text.split()[0] == "state"


def test_what_is_typed_and_the_state_filter_the_rows(show):
    browser = show("few")
    typed = browser.find_element("id", "filter")
    count = browser.find_element("id", "count")

    typed.send_keys("TANH")
    assert numbers(browser) == [0]
    assert count.text == "1 of 5 trials"
    typed.clear()
    typed.send_keys("activation=relu cuda")
    assert numbers(browser) == [4]
    typed.clear()
    typed.send_keys("x" * 20)
    assert numbers(browser) == []
    typed.clear()
    typed.send_keys(" ")

    state = browser.find_element("id", "state")
    state.send_keys("PRUNED")
    assert numbers(browser) == [3]
    button(browser, "value").click()
    assert numbers(browser) == [3]
    state.send_keys("all")
    assert sorted(numbers(browser)) == [0, 1, 2, 3, 4]


def test_a_thousand_trials_sort_and_filter_at_once(show):
    browser = show("many")

    started = browser.execute_script("return performance.now()")
    button(browser, "learning_rate").click()
    browser.find_element("id", "filter").send_keys("tanh")
    taken = browser.execute_script("return performance.now()") - started

    heads = [th.text.split()[0] for th in browser.find_elements("css selector", "#trials th")]
    script = """
        return [...document.querySelectorAll("#trials tbody tr")].map((row) => {
            const cell = row.cells[arguments[0]];
            return cell.dataset.exact ?? cell.textContent;
        })"""
    found = browser.execute_script(script, heads.index("learning_rate"))
    rates = [float(text) for text in found]
    assert 400 < len(rates) < 600
    assert rates == sorted(rates)
    assert taken < 20_000


@pytest.mark.parametrize("name", ["few", "many", "nasty"])
def test_page_fits_a_phone_and_wide_tables_scroll_in_their_own_box(name, show):
    browser = show(name, width=390)

    width = browser.execute_script("return document.documentElement.scrollWidth")
    box = "const box = document.querySelector('.tall'); return box.scrollWidth > box.clientWidth"
    assert width == 390
    assert browser.execute_script(box)


def test_names_and_errors_do_not_run(show):
    browser = show("nasty")

    assert browser.title.endswith(": tuning report")
    assert browser.execute_script("return document.querySelectorAll('script').length") == 1
    handlers = "return document.querySelectorAll('[onerror], [onmouseover]').length"
    assert browser.execute_script(handlers) == 0
    assert (
        "<script>document.title='run'</script>" in browser.find_element("css selector", "h1").text
    )
    button(browser, "state").click()
    browser.find_element("id", "filter").send_keys("onerror")
    assert len(numbers(browser)) > 0
    assert browser.title.endswith(": tuning report")


def test_script_that_slipped_in_would_be_stopped_by_the_policy(browser, pages, tmp_path):
    slipped = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    spoilt = pages["few"].read_text(encoding="utf-8").replace("</main>", slipped)
    (tmp_path / "spoilt.html").write_text(spoilt, encoding="utf-8")

    browser.get((tmp_path / "spoilt.html").as_uri())

    assert browser.title == "demo: tuning report"
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert any("Content Security Policy" in message for message in refused)


def test_it_prints_with_the_first_rows_of_the_table(show):
    browser = show("many")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})

    shown = """
        return [...document.querySelectorAll("#trials tbody tr")]
            .filter((row) => getComputedStyle(row).display !== "none").length"""
    style = "return getComputedStyle(document.querySelector(arguments[0])).display"
    try:
        assert browser.execute_script(shown) == 50
        assert browser.execute_script(style, "#controls") == "none"
        # Chromium repeats a table's head on each page, but leaves out the boxes in it.
        assert browser.execute_script(style, "#trials th button") == "contents"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize(
    ("scheme", "media", "shown"),
    [("light", "screen", "light"), ("dark", "screen", "dark"), ("dark", "print", "light")],
)
def test_figures_are_dark_on_a_dark_screen_and_light_on_paper(scheme, media, shown, show):
    browser = show("few")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    classes = """
        return [...document.querySelectorAll("figure img")]
            .filter((image) => getComputedStyle(image).display !== "none")
            .map((image) => image.className)"""
    try:
        assert set(browser.execute_script(classes)) == {shown}
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
