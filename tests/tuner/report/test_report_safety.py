"""Nothing that a study holds can run in its report, and no password is in it."""

import base64
import hashlib
import re

import pandas as pd
from optuna.trial import TrialState

from tests.tuner.reports import NASTY, Page, nasty_study, report_of
from tests.tuner.studies import make_study, make_trial, peaked
from tuner import tune_mlp


def test_names_values_and_errors_are_text_and_nothing_else(tmp_path):
    page = report_of(nasty_study(), tmp_path)

    assert len(page.all("script")) == 1
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert [name for name in attributes if name.startswith("on")] == []
    for text in NASTY:
        assert " ".join(text.split()) in page.text


def test_columns_and_classes_are_text_and_nothing_else(tmp_path):
    rows = pd.DataFrame({NASTY[0]: range(60), NASTY[1]: [0.5, 1.5, 2.5, 4.5] * 15})
    rows["kind"] = [NASTY[0], NASTY[3], "\u98df\u7269"] * 20
    result = tune_mlp(rows, target="kind", n_trials=1, epochs=2, show_progress_bar=False)

    page = Page(result.report(tmp_path / "study.html"))

    assert f"columns (2) {NASTY[0]}, {NASTY[1]}" in page.text
    assert NASTY[3] in page.text
    assert len(page.all("script")) == 1
    assert all("onerror" not in attrs for _, attrs in page.tags)


def test_policy_allows_this_pages_own_style_and_script_alone(tmp_path):
    page = report_of(make_study(*peaked(3)), tmp_path)

    policy = page.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*)</{tag}>", page.source, re.DOTALL).group(1)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert all("style" not in attrs for _, attrs in page.tags)


def test_passwords_are_not_in_the_report(tmp_path):
    url = "postgresql://me:geheim@host/db"
    study = make_study(make_trial(state=TrialState.FAIL, error=f"cannot reach {url}"))
    study.set_user_attr(
        "call",
        {
            "function": "tune_mlp",
            "dataset": {"path": url},
            "options": {"target": "y"},
            "objects": {"x": url},
        },
    )

    page = report_of(study, tmp_path)

    assert "geheim" not in page.source
    assert "postgresql://me:***@host/db" in page.text
