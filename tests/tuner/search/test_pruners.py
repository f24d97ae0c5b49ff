"""What a pruned trial says of its end: epoch, value, and what it was compared with."""

import optuna
import pytest
from optuna.pruners import (
    HyperbandPruner,
    MedianPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)
from optuna.trial import TrialState, create_trial

from tuner import tune
from tuner.search.samplers import why_pruned

NAN = float("nan")
QUIET = {"show_progress_bar": False}


def make_study(pruner, direction, *curves):
    """A study of complete trials with these reports at steps 0, 1, 2..."""
    study = optuna.create_study(direction=direction, pruner=pruner)
    for curve in curves:
        reports = dict(enumerate(curve))
        study.add_trial(create_trial(value=curve[0], intermediate_values=reports))
    return study


def pruned_by(study, *reports):
    """Report to a new trial until it is pruned; return why."""
    trial = study.ask()
    for step, value in enumerate(reports):
        trial.report(value, step)
        if trial.should_prune():
            return why_pruned(study, study.trials[-1])
    raise AssertionError("it was not pruned")


MEDIAN = MedianPruner(n_startup_trials=1)
# The trial's best value so far counts, and of the others the value at that very step.
REASONS = [
    (MEDIAN, "maximize", [[0.7, 0.9], [0.7, 0.8]], [0.75, 0.6], "0.75 below 0.85, the median of 2"),
    (MEDIAN, "maximize", [[0.5, 0.9], [0.5]], [0.6, 0.55], "0.6 below 0.9, the median of 1"),
    (MEDIAN, "minimize", [[2.0, 1.0], [2.0, 2.0]], [1.9, 3.0], "1.9 above 1.5, the median of 2"),
    (MEDIAN, "minimize", [[2.0, 1.0], [2.0, NAN]], [1.9, NAN], "1.9 above 1, the median of 1"),
    (MEDIAN, "minimize", [[0.5, 0.5]], [0.5, 0.50001], None),
    (
        MEDIAN,
        "minimize",
        [[0.5]],
        [0.50001],
        "0.50001 above 0.5, the median of 1",
    ),
    (
        PercentilePruner(25.0, n_startup_trials=1),
        "maximize",
        [[0.1], [0.2], [0.3], [0.4], [0.5]],
        [0.35],
        "0.35 below 0.4, the limit of the best 25% of 5",
    ),
]


@pytest.mark.parametrize(("pruner", "direction", "others", "reports", "expected"), REASONS)
def test_a_pruned_trial_names_its_value_and_what_it_was_compared_with(
    pruner, direction, others, reports, expected
):
    study = make_study(pruner, direction, *others)
    if expected is None:
        with pytest.raises(AssertionError, match="it was not pruned"):
            pruned_by(study, *reports)
        return

    found = pruned_by(study, *reports)

    assert found == f"pruned at epoch {len(reports) - 1}: {expected} trials"


@pytest.mark.parametrize(
    ("pruner", "reports", "expected"),
    [
        (ThresholdPruner(upper=1.0), [0.5, 2.0], "1 (value 2) by ThresholdPruner"),
        (
            SuccessiveHalvingPruner(min_resource=1),
            [0.5, NAN],
            "1 (value nan) by SuccessiveHalvingPruner",
        ),
        (
            SuccessiveHalvingPruner(min_resource=1, reduction_factor=2, bootstrap_count=1),
            [0.5, 0.4],
            "1 (value 0.4) by SuccessiveHalvingPruner at rung 0",
        ),
    ],
)
def test_of_other_pruners_the_class_is_named(pruner, reports, expected):
    study = make_study(pruner, "minimize", [1.0, 1.0])

    assert pruned_by(study, *reports) == f"pruned at epoch {expected}"


def test_a_median_pruner_that_hides_its_percentile_is_named_as_others_are():
    pruner = MedianPruner(n_startup_trials=1)
    study = make_study(pruner, "minimize", [1.0])
    trial = study.ask()
    trial.report(2.0, 0)
    del pruner._percentile

    assert why_pruned(study, study.trials[-1]) == "pruned at epoch 0 (value 2) by MedianPruner"


def test_a_trial_without_reports_says_only_that_it_was_pruned():
    study = make_study(MEDIAN, "minimize")
    study.add_trial(create_trial(state=TrialState.PRUNED))

    assert why_pruned(study, study.trials[0]) == "pruned"


def test_the_table_tells_the_pruner_from_a_function_that_prunes_itself():
    def objective(trial):
        if trial.params["x"] == 9:
            raise optuna.TrialPruned("too slow")
        trial.report(trial.params["x"], 3)
        if trial.should_prune():
            raise optuna.TrialPruned
        return trial.params["x"]

    result = tune(
        objective,
        space={"x": [1, 2, 3, 9]},
        sampler="grid",
        pruner=MedianPruner(n_startup_trials=2),
        **QUIET,
    )

    frame = result.trials_dataframe().set_index("params_x")
    assert frame["stopped"].to_dict() == {
        1: "returned",
        2: "returned",
        3: "pruned at step 3: 3 above 1.5, the median of 2 trials",
        9: "pruned by the objective: too slow",
    }


def test_hyperband_is_named_in_a_search_of_networks():
    from tuner import tune_mlp

    result = tune_mlp(
        "breast_cancer",
        n_trials=12,
        epochs=9,
        pruner=HyperbandPruner(min_resource=1, max_resource=9),
        space={"hidden_units": 8, "n_layers": 1},
        **QUIET,
    )

    frame = result.trials_dataframe()
    pruned = frame.loc[frame["state"] == "PRUNED", "stopped"]
    assert len(pruned) > 0
    assert pruned.str.fullmatch(
        r"pruned at epoch \d \(value [\d.]+\) by HyperbandPruner at rung \d"
    ).all()
