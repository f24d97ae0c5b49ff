"""A real Chromium without a window."""

import contextlib
import shutil

import pytest

# Without a sandbox it also runs for root, as in a container.
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1400,2400",
)


@contextlib.contextmanager
def chromium():
    """Give a selenium driver that keeps what pages say on the console."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def complaints(browser):
    """Return the errors on the console since the last look at it."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
