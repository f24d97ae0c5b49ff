"""``python -m tests.picture`` draws the pictures of docs/ from a real study, with Chromium."""

import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.pages import DOCS
from tests.tuner.browser import chromium
from tuner import tune_mlp

SIZE = (1000, 1300)
PARTS = ("Question", "Configuration", "Figures")
COLOURS = 160


def report_parts(page: Path) -> Image.Image:
    """Return the report from its top, from the configuration and from the figures, side by side."""
    shots = []
    with chromium() as browser:
        browser.set_window_size(*SIZE)
        browser.get(page.as_uri())
        browser.execute_script("document.documentElement.style.scrollbarWidth = 'none'")
        for part in PARTS:
            if shots:
                browser.find_element("link text", part).click()
            shots.append(Image.open(io.BytesIO(browser.get_screenshot_as_png())))
            browser.execute_script("window.scrollTo(0, 0)")
    width, height = shots[0].size
    joined = Image.new("RGB", (width * len(shots), height))
    for k, shot in enumerate(shots):
        joined.paste(shot, (k * width, 0))
    return joined.resize((joined.width * 3 // 5, joined.height * 3 // 5), Image.Resampling.LANCZOS)


def main() -> None:
    result = tune_mlp("diabetes", n_trials=20, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "diabetes.html"
        result.report(page)
        report_parts(page).save(DOCS / "images" / "report.png")
    for kind in ("history", "curves", "importances", "hyperparameters"):
        result.plot(kind).savefig(DOCS / "images" / f"{kind}.png", dpi=90)
    for path in (DOCS / "images").glob("*.png"):
        Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
