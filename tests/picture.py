"""``python -m tests.picture`` draws the pictures of docs/ from a real study, with Chromium."""

import tempfile
from pathlib import Path

from PIL import Image

from tests.pages import DOCS
from tests.tuner.browser import chromium
from tuner import tune_mlp

WIDTH, HEIGHT = 1000, 1750
COLOURS = 64


def main() -> None:
    result = tune_mlp("diabetes", n_trials=20, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "diabetes.html"
        result.report(page)
        with chromium() as browser:
            browser.set_window_size(WIDTH, HEIGHT)
            browser.get(page.as_uri())
            browser.save_screenshot(str(DOCS / "images" / "report.png"))
    for kind in ("history", "curves", "importances", "hyperparameters"):
        result.plot(kind).savefig(DOCS / "images" / f"{kind}.png", dpi=90)
    for path in (DOCS / "images").glob("*.png"):
        Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
