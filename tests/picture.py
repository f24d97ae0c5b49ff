"""``python -m tests.picture`` draws the pictures of docs/ from real studies, with Chromium."""

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from objectives.space.tables import MLP_TABLE
from tests.pages import DOCS
from tests.tuner.browser import chromium
from tuner import TuningResult, tune_mlp
from tuner.plots.figures import FIGURES

IMAGES = DOCS / "images"
SIZE = (1000, 1300)
PHONE = (390, 844)
PARTS = ("Question", "Configuration", "Figures")
COLOURS = 160
WORDS = "Description"
"""Where a picture of a figure keeps what `words_of` says of it."""


def words_of(figure: Figure) -> list[str]:
    """Return what a figure says whatever its study: the first word of titles and of y labels, but
    for labels that are hyperparameters.
    """
    shown = [ax for ax in figure.axes if ax.get_title(loc="left")]
    texts = [text for ax in shown for text in (ax.get_title(loc="left"), ax.get_ylabel())]
    return sorted({text.split()[0].strip(":") for text in texts if text and text not in MLP_TABLE})


def figures(
    regression: TuningResult, classification: TuningResult
) -> Mapping[str, tuple[TuningResult, str]]:
    """Return the result and the kind of each picture by its name."""
    named = {kind: (regression, kind) for kind in FIGURES}
    return named | {"confusion": (classification, "predictions")}


def save(name: str, image: Image.Image, words: list[str] | None = None) -> None:
    about = PngInfo()
    if words is not None:
        about.add_text(WORDS, json.dumps(words))
    small = image.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    small.save(IMAGES / f"{name}.png", optimize=True, pnginfo=about)


def shots_of(page: Path) -> Mapping[str, Image.Image]:
    """Return the report: three parts of it side by side, dark, and on a phone."""
    with chromium() as browser:

        def shot(part: str, size: tuple[int, int], scheme: str = "light") -> Image.Image:
            width, height = size
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            browser.get("about:blank")
            browser.get(page.as_uri())
            browser.execute_script("document.documentElement.style.scrollbarWidth = 'none'")
            if part != PARTS[0]:
                browser.find_element("link text", part).click()
            return Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")

        parts = [shot(part, SIZE) for part in PARTS]
        dark, phone = shot("Figures", SIZE, "dark"), shot("Figures", PHONE)
    joined = Image.new("RGB", (SIZE[0] * len(parts), SIZE[1]))
    for k, part in enumerate(parts):
        joined.paste(part, (k * SIZE[0], 0))
    pictures = {"report": joined, "report-dark": dark}
    sizes = {name: (i.width * 3 // 5, i.height * 3 // 5) for name, i in pictures.items()}
    smaller = {n: i.resize(sizes[n], Image.Resampling.LANCZOS) for n, i in pictures.items()}
    return {**smaller, "report-phone": phone}


def main() -> None:
    regression = tune_mlp("diabetes", n_trials=60, seed=0, show_progress_bar=False)
    classification = tune_mlp("digits", n_trials=5, seed=0, show_progress_bar=False)
    with tempfile.TemporaryDirectory() as folder:
        for name, image in shots_of(regression.report(Path(folder) / "diabetes.html")).items():
            save(name, image)
    for name, (result, kind) in figures(regression, classification).items():
        figure, content = result.plot(kind), io.BytesIO()
        figure.savefig(content, dpi=60 if kind == "overview" else 90)
        save(name, Image.open(content), words_of(figure))
        plt.close(figure)


if __name__ == "__main__":
    main()
