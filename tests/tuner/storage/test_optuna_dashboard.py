"""A study of this package in optuna-dashboard, in a real browser."""

import contextlib
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.tuner.browser import chromium, complaints
from tests.tuner.servers import free_port
from tuner import tune_mlp
from tuner.storage.backends import open_storage

N_TRIALS, N_EPOCHS = 8, 4
NAME = "flowers & <b>more</b>"
PLOTS = ("plot-history", "graph-hyperparameter-importances", "graph-intermediate-values")


@contextlib.contextmanager
def dashboard(storage):
    """Run optuna-dashboard's own command on a storage; give its address."""
    pytest.importorskip("optuna_dashboard", reason="needs the extra 'dashboard'")
    port, command = free_port(), Path(sys.executable).with_name("optuna-dashboard")
    process = subprocess.Popen(
        [command, storage, "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/dashboard"
    try:
        wait_for(lambda: answers(address), 60)
        yield address
    finally:
        process.kill()
        process.wait()


def answers(address):
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status == 200
    return False


def wait_for(found, seconds):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def marks(browser, plot):
    """Count the points, bars and lines of a plot on the page."""
    return len(browser.find_elements("css selector", f"#{plot} :is(.point, .js-line)"))


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["s.journal", "s.db"])
def test_a_study_shows_its_history_curves_and_importances_in_the_dashboard(storage, in_folder):
    space = {"n_layers": 1, "hidden_units": (8, 16), "epochs": N_EPOCHS}
    result = tune_mlp(
        "iris",
        space=space,
        pruner="none",
        n_trials=N_TRIALS,
        storage=storage,
        study_name=NAME,
        show_progress_bar=False,
    )
    study_id = open_storage(storage).get_study_id_from_name(NAME)

    url = storage if storage.endswith(".journal") else f"sqlite:///{storage}"
    with dashboard(url) as address, chromium() as browser:
        browser.set_page_load_timeout(120)
        browser.get(f"{address}/studies/{study_id}")
        wait_for(lambda: all(marks(browser, plot) for plot in PLOTS), 120)

        assert NAME in browser.find_element("tag name", "body").text
        assert marks(browser, "plot-history") >= N_TRIALS
        assert marks(browser, "graph-hyperparameter-importances") == len(
            result.study.trials[0].params
        )
        assert marks(browser, "graph-intermediate-values") >= N_TRIALS * N_EPOCHS
        assert complaints(browser) == []
        browser.save_screenshot("dashboard.png")
    assert Path("dashboard.png").stat().st_size > 10_000
