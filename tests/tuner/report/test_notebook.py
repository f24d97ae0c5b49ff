"""What results show by themselves in a notebook."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from PIL import Image

from tests.tuner.studies import make_study, make_trial, peaked
from tuner import tune, tune_mlp
from tuner.result import TuningResult

NASTY = "<script>alert('x')</script> & \"quoted\""


def shown(study, objective=None):
    result = TuningResult(study=study, objective=objective, model=None, continue_search=None)
    return result._repr_html_()


class Tags(HTMLParser):
    """Collects tags, and finds those that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.open += [tag] if tag not in ("img", "br") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result():
    space = {"hidden_units": 8, "n_layers": 1, "batch_size": [16, 32], "epochs": 3}
    return tune_mlp("iris", n_trials=4, space=space, show_progress_bar=False)


def test_a_result_shows_its_counts_and_the_best_beside_the_default(result):
    html = result._repr_html_()

    default = result.trials_dataframe().loc[0, "value"]
    assert "<b>study mlp</b>, 4 trials: " in html
    assert f"best valid_accuracy <b>{result.best_value:.4g}</b> " in html
    assert f", default {default:.4g}</p>" in html
    assert f"<th>best (trial {result.best_trial.number})</th>" in html
    assert "<th>default (trial 0)</th>" in html
    assert re.search(r"<th>learning_rate</th>\s*<td>[\d.e-]+</td>\s*<td>0.001</td>", html)
    assert "<th>batch_size</th>" in html
    assert "fixed: epochs=3, n_layers=1, hidden_units=8, " in html


def test_showing_a_result_needs_neither_data_nor_a_model_and_leaves_the_study_as_it_is(result):
    before = len(result.study.trials), dict(result.study.user_attrs)
    without_data = SimpleNamespace(space=result.objective.space)

    assert shown(result.study, without_data) == result._repr_html_()

    assert (len(result.study.trials), result.study.user_attrs) == before


def test_the_history_is_a_picture_with_something_on_it_and_no_figure_is_left_open():
    before = plt.get_fignums()

    html = shown(make_study(*peaked(20)))

    [encoded] = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    pixels = np.asarray(Image.open(BytesIO(b64decode(encoded))).convert("L"))
    assert (pixels < 200).mean() > 0.005
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("trials", "expected", "has_picture"),
    [
        ([], "<b>study demo</b>, no trials yet</p>", False),
        ([make_trial(state=TrialState.PRUNED, stopped="pruned")], "1 trial: 1 pruned</p>", True),
        ([make_trial(state=TrialState.FAIL, error="boom")], "1 trial: 1 failed</p>", True),
    ],
    ids=["empty", "pruned", "failed"],
)
def test_a_study_without_a_complete_trial_shows_its_counts(trials, expected, has_picture):
    html = shown(make_study(*trials))

    assert expected in html
    assert ("<img" in html) == has_picture
    assert "<table" not in html


def test_names_from_outside_are_shown_as_text():
    study = make_study(make_trial(0.5), make_trial(0.7), name=NASTY, metric=NASTY)
    choice = optuna.distributions.CategoricalDistribution([NASTY])
    study.add_trial(
        optuna.trial.create_trial(value=0.9, params={NASTY: NASTY}, distributions={NASTY: choice})
    )

    html = shown(study)

    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 4
    assert set(Tags(html).seen).isdisjoint({"script", "a", "link"})


@pytest.mark.parametrize("n_trials", [1, 30])
def test_the_summary_is_whole_html_and_small(n_trials):
    html = shown(make_study(*peaked(n_trials)))

    assert Tags(html).open == []
    assert len(html) < 120_000


def test_a_functions_result_shows_its_best_without_a_default():
    result = tune(
        lambda trial: trial.params["x"] ** 2,
        space={"x": (-1.0, 1.0)},
        n_trials=3,
        show_progress_bar=False,
    )

    html = result._repr_html_()

    assert f"best valid_value <b>{result.best_value:.4g}</b>" in html
    assert "default" not in html


def test_long_choices_are_shown_whole():
    long = "a" * 80
    study = make_study()
    choice = optuna.distributions.CategoricalDistribution([long])
    study.add_trial(
        optuna.trial.create_trial(value=0.9, params={"kind": long}, distributions={"kind": choice})
    )

    assert f"<td>{long}</td>" in shown(study)
