import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from matplotlib.markers import MarkerStyle
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tuner.plots.hyperparameters import plot_hyperparameter, plot_parallel, plot_rank
from tuner.plots.study import (
    curves_data,
    history_data,
    overview,
    plot_curves,
    plot_history,
    plot_importances,
    plot_losses,
    plot_timeline,
)
from tuner.storage.view import view_of

DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "log2_batch_size": IntDistribution(4, 8),
    "activation": CategoricalDistribution(["relu", "tanh"]),
}
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
PLOTS = [plot_history, plot_curves, plot_importances, plot_hyperparameter]
PLOTS += [plot_losses, plot_parallel, plot_rank, plot_timeline]


def make_trial(number, value, state=TrialState.COMPLETE):
    rng = np.random.default_rng(number)
    params = {
        "learning_rate": float(10 ** rng.uniform(-4, -1)),
        "log2_batch_size": int(rng.integers(4, 9)),
        "activation": str(rng.choice(["relu", "tanh"])),
    }
    return create_trial(
        state=state,
        value=value if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params=params,
        distributions=DISTRIBUTIONS,
        intermediate_values={0: value / 2, 1: value},
    )


def make_study(values, states=(TrialState.COMPLETE,), direction="maximize"):
    study = optuna.create_study(direction=direction, study_name="demo")
    study.set_user_attr("fusetune", {"metric": "accuracy"})
    for number, value in enumerate(values):
        study.add_trial(make_trial(number, value, states[number % len(states)]))
    return study


def values_of(n_trials):
    return np.random.default_rng(0).uniform(0.5, 1.0, n_trials).tolist()


STUDIES = {
    "empty": make_study([]),
    "one": make_study([0.9]),
    "five": make_study(values_of(5)),
    "mixed": make_study(values_of(20), STATES),
    "only-pruned": make_study(values_of(6), [TrialState.PRUNED]),
    "only-failed": make_study(values_of(3), [TrialState.FAIL]),
    "equal": make_study([0.5] * 6),
    "infinite": make_study([0.5, math.inf, 0.7, 0.8, 0.9, 0.6]),
}


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_draws_every_study_on_the_axes_it_is_given(plot, study):
    figure, ax = plt.subplots()

    assert plot(study, ax=ax) is ax
    figure.canvas.draw()
    assert ax.get_title(loc="left")


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_overview_draws_six_plots_on_one_page(study, tmp_path):
    figure = overview(study)
    figure.savefig(tmp_path / "overview.png", dpi=30)

    assert len(figure.axes) == 6
    assert (tmp_path / "overview.png").stat().st_size > 0


def test_plots_leave_the_global_style_as_it_was():
    before = dict(matplotlib.rcParams)

    overview(STUDIES["mixed"])

    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("direction", "best"),
    [("maximize", [0.2, 0.5, 0.5, 0.5]), ("minimize", [0.2, 0.2, 0.2, 0.1])],
)
def test_history_follows_the_best_complete_trial(direction, best):
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    data = history_data(make_study([0.2, 0.5, 0.9, 0.1], states, direction))

    assert data.best.tolist() == best


def test_history_has_no_best_before_the_first_complete_trial():
    data = history_data(make_study([0.2, 0.5], [TrialState.PRUNED, TrialState.COMPLETE]))

    assert data.best.tolist() == pytest.approx([math.nan, 0.5], nan_ok=True)


def test_curves_are_those_of_the_trials_with_the_best_one_named():
    data = curves_data(make_study([0.4, 0.8, 0.6]))

    assert data.number == [0, 1, 2]
    assert data.best_number == 1
    assert data.curve[1].tolist() == [[0.0, 0.4], [1.0, 0.8]]


def test_a_pruned_trial_is_never_the_best_curve():
    data = curves_data(make_study([0.4, 0.8], [TrialState.COMPLETE, TrialState.PRUNED]))

    assert data.best_number == 0


def test_legend_tells_the_states_apart_with_their_counts():
    ax = plot_history(STUDIES["mixed"])

    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "complete (5)",
        "running (5)",
        "failed (5)",
        "pruned (5)",
        "best so far",
    ]


def test_each_state_has_its_own_colour_and_mark():
    from tuner.plots.axes import LOOKS

    assert len({look.color for look in LOOKS.values()}) == len(LOOKS)
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize(
    ("values", "direction", "scale"),
    [
        ([1e-4, 1.0, 10.0], "minimize", "log"),
        ([1.0, 2.0, 3.0], "minimize", "linear"),
        ([0.01, 0.5, 0.99], "maximize", "linear"),
        ([1.0, 50.0, 900.0], "maximize", "log"),
        ([-1.0, 50.0, 900.0], "maximize", "linear"),
    ],
    ids=["loss", "narrow", "bounded-score", "unbounded-score", "negative"],
)
def test_values_that_span_decades_get_a_log_axis(values, direction, scale):
    assert plot_history(make_study(values, direction=direction)).get_yscale() == scale


def test_one_terrible_value_does_not_flatten_the_others():
    ax = plot_history(make_study([0.9, 0.91, 0.93, 0.95, -80.0]))

    assert -1 < ax.get_ylim()[0] < 0.9
    assert ax.get_ylim()[1] > 0.95


@pytest.mark.parametrize(
    ("values", "direction", "marker"),
    [
        ([0.95, 0.948, 0.953, 0.711, 0.377], "maximize", "v"),
        ([0.05, 0.052, 0.047, 0.29, 0.62], "minimize", "^"),
    ],
)
def test_values_beyond_the_axis_are_marked_as_such_on_its_edge(values, direction, marker):
    ax = plot_history(make_study(values, direction=direction))

    triangle = MarkerStyle(marker)
    outline = triangle.get_path().transformed(triangle.get_transform()).vertices
    marked = [
        dots for dots in ax.collections if np.array_equal(dots.get_paths()[0].vertices, outline)
    ]
    at = np.concatenate([dots.get_offsets() for dots in marked])
    edge = 0.015 if direction == "maximize" else 0.985
    assert at.tolist() == [[3.0, edge], [4.0, edge]]
    ordinary = [dots.get_offsets() for dots in ax.collections if dots not in marked]
    assert np.concatenate(ordinary)[:, 0].tolist() == [0.0, 1.0, 2.0]
    assert "beyond the axis (2)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_hyperparameter_that_spans_decades_gets_a_log_axis():
    study = make_study(values_of(30))

    assert plot_hyperparameter(study, "learning_rate").get_xscale() == "log"
    assert [t.get_text() for t in plot_hyperparameter(study, "activation").get_xticklabels()] == [
        "relu",
        "tanh",
    ]


def test_importances_sum_to_one_under_the_documented_names():
    shares = view_of(make_study(values_of(30))).importances

    assert set(shares) == {"learning_rate", "batch_size", "activation"}
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["empty", "one", "only-pruned", "equal"])
def test_importances_are_not_made_up_from_too_little(name):
    ax = plot_importances(STUDIES[name])

    assert view_of(STUDIES[name]).importances == {}
    assert [text.get_text() for text in ax.texts] == [
        "importances need 5 complete trials that differ"
    ]


@pytest.mark.parametrize(("n_trials", "has_caveat"), [(12, True), (30, False)])
def test_importances_of_few_trials_say_so_in_the_figure(n_trials, has_caveat):
    ax = plot_importances(make_study(values_of(n_trials)))

    caveat = "may be chance: 12 complete trials for 3 hyperparameters"
    assert (caveat in [text.get_text() for text in ax.texts]) == has_caveat


def test_unknown_hyperparameter_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"name must be one of learning_rate, .* got name='lr'"):
        plot_hyperparameter(STUDIES["five"], "lr")
