"""The figures by name, and what each shows of a study made for it."""

from datetime import datetime, timedelta

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from tests.tuner.studies import make_study, make_trial, peaked, random_params
from tuner import tune, tune_mlp
from tuner.plots.figures import FIGURES, OF_A_STUDY, WIDTHS, draw, plot_confusion, plot_predicted
from tuner.plots.hyperparameters import (
    parallel_data,
    plot_hyperparameter,
    plot_hyperparameters,
    plot_rank,
)
from tuner.plots.study import (
    curves_data,
    overview,
    plot_curves,
    plot_losses,
    plot_timeline,
    timeline_data,
)

START = datetime(2024, 1, 1)


def timed(number, start, end, worker=0, state=TrialState.COMPLETE):
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=0.5,
        params={},
        distributions={},
        datetime_start=START + timedelta(seconds=start),
        datetime_complete=START + timedelta(seconds=end),
        user_attrs={"worker": worker},
        system_attrs={},
        intermediate_values={},
    )


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def vertical_lines(ax):
    return [
        float(line.get_xdata()[0]) for line in ax.get_lines() if len(set(line.get_xdata())) == 1
    ]


@pytest.fixture(scope="module")
def result():
    return tune_mlp("iris", n_trials=6, epochs=4, show_progress_bar=False)


@pytest.mark.parametrize("kind", FIGURES)
def test_result_draws_each_figure_by_its_name(kind, result, tmp_path):
    figure = result.plot(kind)

    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_result_draws_the_overview_by_default(result):
    assert len(result.plot().axes) == 6


def test_a_figure_is_drawn_without_a_note_of_optuna(caplog):
    study = make_study(*peaked(10))
    optuna.logging.enable_propagation()
    caplog.clear()
    try:
        draw(study, "importances")
    finally:
        optuna.logging.disable_propagation()

    assert [entry.getMessage() for entry in caplog.records] == []


def test_unknown_figure_is_refused_with_the_choices(result):
    with pytest.raises(ValueError, match=r"kind must be one of overview, .*did you mean 'curves'"):
        result.plot("curve")


def test_predictions_open_the_validation_split_alone(result, monkeypatch):
    monkeypatch.setattr(type(result.objective.data), "open_test", None)

    result.plot("predictions")

    assert "fusetune:test_openings" not in result.study.user_attrs


def test_predictions_of_folds_are_those_of_networks_that_have_not_seen_the_row():
    result = tune_mlp(
        "iris", n_trials=3, epochs=4, folds=5, ensemble=False, show_progress_bar=False
    )

    title = result.plot("predictions").axes[0].get_title(loc="left")

    n_wrong = round(120 * (1 - result.best_value))
    assert title == f"Confusion: {n_wrong} of 120 validation rows are wrong"


def test_predictions_of_an_ensemble_are_the_mean_of_its_members():
    result = tune_mlp(
        "diabetes", sampler="random", n_trials=4, epochs=2, ensemble=3, show_progress_bar=False
    )
    objective, members = result.objective, result.model.members

    mean = objective.held_out(result.model)

    parts = [objective.held_out(member) for member in members]
    assert len(parts) > 1
    assert mean == pytest.approx(np.average(parts, axis=0, weights=result.model.weights))
    drawn = result.plot("predictions").axes[0].collections[0].get_offsets()
    assert sorted(drawn[:, 0].tolist()) == pytest.approx(sorted(mean.tolist()))


def test_predictions_of_a_study_alone_name_the_figures_that_it_has():
    with pytest.raises(ValueError, match=r"kind must be one of overview, .* for a study alone"):
        draw(make_study(make_trial()), "predictions")


def test_functions_result_has_figures_but_no_predictions():
    result = tune(
        lambda trial: trial.params["x"],
        space={"x": (0.0, 1.0)},
        n_trials=3,
        show_progress_bar=False,
    )

    assert len(result.plot("hyperparameters").axes) == 1
    with pytest.raises(TypeError, match="model must come from a ready-made objective"):
        result.plot("predictions")


@pytest.mark.parametrize("n_trials", [5, 1000])
@pytest.mark.parametrize("kind", OF_A_STUDY)
def test_each_figure_draws_few_trials_and_many(kind, n_trials, tmp_path):
    study = make_study(*peaked(n_trials))

    drawn = OF_A_STUDY[kind](study)

    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure()
    figure.savefig(tmp_path / "figure.png", dpi=40)


def test_curves_tell_how_each_trial_ended():
    study = make_study(
        make_trial(stopped="epochs"),
        make_trial(stopped="patience"),
        make_trial(stopped="diverged at epoch 3", state=TrialState.PRUNED, metric=[0.5, None]),
        make_trial(stopped="pruned", state=TrialState.PRUNED),
        make_trial(state=TrialState.FAIL),
    )

    endings = ["complete", "patience", "diverged", "pruned", "failed"]
    assert curves_data(study).ending.tolist() == endings
    ends = ["complete (1)", "early stopped (1)", "diverged (1)", "failed (1)", "pruned (1)"]
    assert legend_of(plot_curves(study))[:5] == ends


def test_bounds_of_the_space_are_drawn_on_its_own_scale():
    study = make_study(*peaked(10))

    rates, layers = (
        plot_hyperparameter(study, "learning_rate"),
        plot_hyperparameter(study, "n_layers"),
    )

    assert rates.get_xscale() == "log"
    assert vertical_lines(rates) == [1e-4, 1e-1]
    assert layers.get_xscale() == "linear"
    assert vertical_lines(layers) == [1, 4]
    low, high = rates.get_xlim()
    assert low < 1e-4 < 1e-1 < high


def test_value_given_by_hand_outside_the_bounds_is_inside_the_axes():
    trial = make_trial(0.99)
    trial.user_attrs["params"]["dropout"] = 0.9
    ax = plot_hyperparameter(make_study(*peaked(10), trial), "dropout")

    assert ax.get_xlim()[1] > 0.9


def test_there_is_a_panel_for_each_hyperparameter_that_varies():
    figure = plot_hyperparameters(make_study(*peaked(20)))

    shown = [ax.get_xlabel() for ax in figure.axes if ax.get_visible()]
    assert sorted(shown) == ["activation", "dropout", "learning_rate", "n_layers"]
    assert shown[0] == "learning_rate"


def test_many_trials_on_few_levels_do_not_hide_one_another():
    ax = plot_hyperparameter(make_study(*peaked(200)), "n_layers")

    x = np.concatenate([dots.get_offsets()[:, 0] for dots in ax.collections])
    assert len(np.unique(x)) > 190
    assert (abs(x - x.round()) < 0.2).all()
    assert ((x >= 1) & (x <= 4)).all()


def test_trials_of_a_cell_of_two_discrete_hyperparameters_fill_it_instead_of_its_diagonal():
    ax = plot_rank(make_study(*peaked(200)), ("n_layers", "activation"))

    x, y = ax.collections[0].get_offsets().T
    cell = (x.round() == 2) & (y.round() == 1)
    assert cell.sum() > 10
    assert abs(np.corrcoef(x[cell], y[cell])[0, 1]) < 0.5


def test_two_hyperparameters_are_those_that_are_named():
    ax = plot_rank(make_study(*peaked(20)), ("dropout", "activation"))

    assert (ax.get_xlabel(), ax.get_ylabel()) == ("dropout", "activation")
    with pytest.raises(ValueError, match=r"name must be one of learning_rate, .* got name='lr'"):
        plot_rank(make_study(*peaked(20)), ("dropout", "lr"))


def test_parallel_lines_lie_between_the_ends_of_the_ranges_and_end_with_the_best():
    study = make_study(*peaked(30))

    data = parallel_data(study)

    assert data.names[0] == "learning_rate"
    assert data.ticks[0] == pytest.approx({"0.0001": 0, "0.001": 1 / 3, "0.01": 2 / 3, "0.1": 1})
    assert data.ticks[data.names.index("activation")] == {"relu": 0, "tanh": 1}
    assert data.ticks[data.names.index("dropout")] == {"0": 0, "0.5": 1}
    assert data.position.shape == (30, 4)
    assert ((data.position >= 0) & (data.position <= 1)).all()
    best = np.log10(study.best_params["learning_rate"] / 1e-4) / 3
    assert data.position[-1, 0] == pytest.approx(best)


def test_trials_side_by_side_have_rows_of_their_own_and_workers_are_apart():
    study = optuna.create_study(direction="maximize")
    for trial in (timed(0, 0, 4), timed(1, 0, 2), timed(2, 2, 3), timed(3, 1, 5, worker=1)):
        study.add_trial(trial)

    data = timeline_data(study)

    found = sorted(zip(data.start_s, data.end_s, data.worker, data.lane, strict=True))
    assert found == [(0, 2, 0, 1), (0, 4, 0, 0), (1, 5, 1, 2), (2, 3, 0, 1)]
    assert plot_timeline(study).get_xlabel() == "seconds since the first trial began"


def test_trials_of_one_worker_have_a_row_each_and_the_legend_says_what_took_the_time():
    study = optuna.create_study(direction="maximize")
    pruned = timed(2, 6, 7, state=TrialState.PRUNED)
    for trial in (timed(0, 0, 4), timed(1, 4, 5), pruned, timed(3, 7, 10)):
        study.add_trial(trial)

    data, ax = timeline_data(study), plot_timeline(study)

    assert data.lane.tolist() == [0, 1, 2, 3]
    assert data.idle_s == 1
    assert ax.get_ylabel() == "trial"
    shares = ["complete (3): 80% of the time", "pruned (1): 10% of the time", "no trial: 10%"]
    assert legend_of(ax) == shares


def test_a_curve_that_ends_beyond_the_axis_is_marked_on_its_edge():
    good = [make_trial(v, metric=[v - 0.02, v]) for v in (0.94, 0.95, 0.95, 0.96)]
    study = make_study(*good, make_trial(0.3, metric=[0.2, 0.3]))

    ax = plot_curves(study)

    assert ax.get_ylim()[0] > 0.3
    assert "beyond the axis (1)" in legend_of(ax)
    marked = next(dots for dots in ax.collections if dots.get_offsets().tolist() == [[1.0, 0.015]])
    assert marked.get_offset_transform() == ax.get_xaxis_transform()


def test_overview_shows_the_learning_rate_also_where_others_mattered_more():
    rng = np.random.default_rng(0)
    trials = [make_trial(1 - p["dropout"], **p) for p in (random_params(rng) for _ in range(20))]

    shown = [ax.get_xlabel() for ax in overview(make_study(*trials)).axes]

    assert shown[-2:] == ["dropout", "learning_rate"]


def test_losses_are_those_of_the_best_trial_with_its_best_epoch_marked():
    best = make_trial(0.9, metric=[0.5, 0.9, 0.8], train=[3.0, 2.0, 1.0], valid=[3.0, 2.5, 2.8])

    ax = plot_losses(make_study(make_trial(0.8), best))

    assert ax.get_lines()[0].get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert vertical_lines(ax) == [1.0]
    assert legend_of(ax) == ["train_loss", "valid_loss", "best epoch (1) of trial 1"]


def test_confusion_counts_rows_and_colours_the_share_of_each_true_class():
    ax = plot_confusion(["a", "a", "a", "a", "b"], ["a", "a", "a", "b", "b"])

    assert ax.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert [text.get_text() for text in ax.texts] == ["3", "1", "0", "1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a (4)", "b (1)"]
    assert ax.get_title(loc="left") == "Confusion: 1 of 5 validation rows are wrong"


def test_confusion_of_many_classes_has_a_scale_in_place_of_numbers():
    classes = [f"c{i:02d}" for i in range(20)]

    ax = plot_confusion(classes, classes)

    assert list(ax.texts) == []
    assert ax.figure.axes[1].get_ylabel() == "share of the true class"


def test_predicted_values_are_drawn_against_true_ones_on_the_axes_given():
    _, ax = plt.subplots()

    assert plot_predicted([1.0, 2.0, 3.0], [1.5, 2.0, 2.5], ax) is ax
    assert sorted(ax.collections[0].get_offsets().tolist()) == [[1.5, 1.0], [2.0, 2.0], [2.5, 3.0]]


@pytest.mark.parametrize(
    "kind", [k for k in OF_A_STUDY if k not in ("overview", "hyperparameters")]
)
def test_a_figure_for_a_column_has_its_width_and_text_of_8_points(kind):
    figure = draw(make_study(*peaked(20)), kind, width="column")
    figure.draw_without_rendering()

    assert figure.get_figwidth() == WIDTHS["column"]
    sizes = {label.get_fontsize() for ax in figure.axes for label in ax.get_xticklabels()}
    assert all(size >= 7 for size in sizes)
    assert plt.rcParams["font.size"] == 10
    for drawn in filter(None, (ax.get_legend() for ax in figure.axes)):
        assert drawn.get_window_extent().x1 <= figure.bbox.x1


def test_panels_side_by_side_need_a_page():
    study = make_study(*peaked(20))

    assert draw(study, "overview", width="page").get_figwidth() == WIDTHS["page"]
    with pytest.raises(ValueError, match=r"at least 6\.6 inches for 3 panels"):
        draw(study, "overview", width="column")


@pytest.mark.parametrize("width", ["colum", 0.1, float("nan")])
def test_a_width_that_no_paper_has_is_refused(width):
    with pytest.raises(ValueError, match="width must be column, text or page, or inches"):
        draw(make_study(make_trial()), "history", width=width)


def test_the_star_is_on_the_best_trial_also_where_a_confirmation_chose_another_one():
    metric = {"train": [2.0, 1.0], "valid": [2.0, 1.0]}
    study = make_study(
        make_trial(0.9, dropout=0.1, learning_rate=0.001, metric=[0.9, 0.5], **metric),
        make_trial(0.8, dropout=0.4, learning_rate=0.01, metric=[0.5, 0.8], **metric),
        make_trial(0.7, dropout=0.3, learning_rate=0.002, metric=[0.7, 0.5], **metric),
    )
    values = {"0": [0.6, 0.1, 5], "1": [0.75, 0.1, 5]}
    study.set_user_attr("fusetune:confirmed", {"n_complete": 3, "values": values})

    def labels(axes):
        return [text.get_text() for text in axes.get_legend().get_texts()]

    assert "best (trial 1)" in labels(plot_hyperparameter(study, "dropout"))
    assert labels(plot_rank(study)) == ["best (trial 1)"]
    assert "best epoch (1) of trial 1" in labels(plot_losses(study))
    data = parallel_data(study)
    best = dict(zip(data.names, data.position[data.best], strict=True))
    assert best["dropout"] == pytest.approx(0.8)  # of 0 to 0.5


def test_parallel_coordinates_leave_out_trials_without_a_choice():
    choices = {"x": optuna.distributions.CategoricalDistribution([None, 5, "auto"])}
    line = {"y": optuna.distributions.FloatDistribution(0.0, 1.0)}
    study = optuna.create_study()
    for number, x in enumerate([None, 5, "auto", 5]):
        params = {"x": x, "y": number / 4}
        study.add_trial(
            optuna.trial.create_trial(value=number, params=params, distributions=choices | line)
        )

    assert len(parallel_data(study).position) == 3
    assert draw(study, "parallel").axes
