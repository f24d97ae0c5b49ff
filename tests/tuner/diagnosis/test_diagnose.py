"""Each finding on a study made to show it, and on one made not to."""

import json
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from tests.tuner.studies import by_rate, curve, make_study, make_trial, peaked, rates
from tuner.diagnosis.diagnosis import COLUMNS, FINDINGS, diagnose
from tuner.diagnosis.evidence import noise
from tuner.storage.view import view_of

PRUNED, FAIL = TrialState.PRUNED, TrialState.FAIL


def codes(study, objective=None):
    return diagnose(study, objective).findings["code"].tolist()


def row(study, code, objective=None):
    findings = diagnose(study, objective).findings.set_index("code")
    return findings.loc[code]


def layers(*values):
    return [make_trial(0.9 - 0.02 * i, n_layers=n) for i, n in enumerate(values)]


def dropouts(*values):
    return [make_trial(0.9 - 0.02 * i, dropout=p) for i, p in enumerate(values)]


def waits(*, gap, n_trials=6):
    """Trials that find a better epoch after ``gap`` epochs, and then none for patience's 10."""
    metric = [0.5, 0.6, *[0.55, 0.54] * (gap // 2), *[0.55] * (gap % 2), 0.7, *[0.6, 0.61] * 5]
    return [make_trial(0.7, stopped="patience", metric=metric) for _ in range(n_trials)]


def plateaus(*, slope):
    """Trials that a lucky early epoch had ended by patience."""
    after = [0.5 + slope * i + 0.002 * (-1) ** i for i in range(10)]
    return [make_trial(0.9, stopped="patience", metric=[0.4, 0.9, *after]) for _ in range(6)]


def losses(train, valid):
    best = int(np.argmin(valid))
    metric = [0.5] * best + [0.9] + [0.8] * (len(valid) - best - 1)
    return make_trial(0.9, train=train, valid=valid, metric=metric)


def ended_at(best_epoch, epochs=40):
    return make_trial(0.9, metric=[0.5] * best_epoch + [0.9] + [0.5] * (epochs - best_epoch - 1))


def lucky(values, tail):
    return [
        make_trial(value, dropout=0.001 * i) for i, value in enumerate([*values, *[0.5] * tail])
    ]


PRUNED_FIRST = [*[make_trial(state=PRUNED, stopped="pruned")] * 5, make_trial()]

# code: trials that show it, and trials that do not.
CASES = {
    "failed": (
        [make_trial(state=FAIL, error="OSError: disk")] * 2 + [make_trial()] * 8,
        [make_trial(state=FAIL, error="OSError: disk")] + [make_trial()] * 9,
    ),
    "out_of_memory": (
        [make_trial(state=PRUNED, stopped="out of memory"), make_trial()],
        [make_trial(state=PRUNED, stopped="pruned"), make_trial()],
    ),
    "diverged": (by_rate(diverged_from=3e-2), by_rate(diverged_from=1.0)),
    "pruned_too_early": (PRUNED_FIRST, PRUNED_FIRST[::-1]),
    "at_an_edge": (rates(9e-2, 8e-2, 1e-3, 7e-2, 2e-4), rates(3e-3, 9e-2, 8e-2, 1e-2, 7e-2)),
    "at_an_edge, by one trial alone": (layers(4, 4, 4, 1, 2), layers(4, 1, 2, 3, 2)),
    "at_an_edge, where it can move": (dropouts(0.5, 0.49, 0.48, 0.1, 0), dropouts(0, 0, 0, 0, 0.2)),
    "under_trained": ([ended_at(39)], [ended_at(20)]),
    "impatient": (waits(gap=9), waits(gap=4)),
    "impatient, by the trend": (plateaus(slope=0.02), plateaus(slope=0.0)),
    "overfitting": (
        [losses(curve(rise=39), curve(fall=0.02))],
        [losses(curve(rise=39), curve(fall=0.0))],
    ),
    "overfitting, not a collapse": (
        [losses(curve(rise=39), curve(fall=0.02))],
        [losses(curve(fall=0.02), curve(fall=0.02))],
    ),
    "underfitting": (
        [losses([1.0, *[0.7] * 30], [1.0, *[0.69] * 30])],
        [losses([1.0, *[0.2] * 30], [1.0, *[0.4] * 30])],
    ),
    "underfitting, both still fall": (
        [losses(curve(rise=39), curve(rise=39))],
        [losses(curve(rise=20), curve(rise=20))],
    ),
    "lead_within_noise": ([*dropouts(0.1), make_trial(0.895)], dropouts(0.1, 0.2)),
    "no_difference": (peaked(60), peaked(29)),
    "too_few_trials": (peaked(39), peaked(40)),
    "stalled": (lucky([0.5, 0.9], 38), lucky([0.5] * 35 + [0.9], 4)),
    "stalled, beyond noise": ([*lucky([0.9], 38), make_trial(0.901)], lucky([0.9], 10)),
    "duplicates": ([make_trial(0.8), make_trial(0.81)], dropouts(0.1, 0.2)),
}


@pytest.mark.parametrize("case", CASES)
def test_finding_is_made_of_a_study_that_shows_it_and_of_no_other(case):
    shows, shows_not = (make_study(*trials) for trials in CASES[case])

    code = case.split(",")[0]
    assert code in codes(shows)
    assert code not in codes(shows_not)


def test_a_study_is_not_told_both_to_go_on_and_to_stop():
    diagnosis = diagnose(make_study(*lucky([0.5, 0.9], 30)))

    advice = diagnosis.findings.set_index("code")["advice"]
    assert advice["stalled"] == "stop here, or continue in the next space"
    assert advice["too_few_trials"] == "do not rely on importances"
    young = diagnose(make_study(*dropouts(0.1, 0.2))).findings.set_index("code")["advice"]
    assert young["too_few_trials"].startswith("continue to n_trials=40, or search fewer")


@pytest.mark.parametrize(
    ("metric", "counts", "found"),
    [
        ("accuracy", [95, 5], True),
        ("accuracy", [75, 25], False),
        ("balanced_accuracy", [95, 5], False),
        ("accuracy", [80, 15, 5], True),
        ("accuracy", [50, 30, 20], False),
    ],
)
def test_rare_class_is_found_where_accuracy_is_tuned(metric, counts, found):
    labels = np.repeat(np.arange(len(counts)), counts)
    classes = np.array(["yes", "no", "maybe"])[: len(counts)]
    data = SimpleNamespace(train=SimpleNamespace(y=labels), classes=classes)
    objective = SimpleNamespace(data=data)

    assert ("imbalanced" in codes(make_study(metric=metric), objective)) is found
    assert "imbalanced" not in codes(make_study(metric=metric))


def test_every_finding_has_a_study_that_shows_it():
    tested = {case.split(",")[0] for case in CASES} | {"imbalanced"}

    assert {find.__name__ for find in FINDINGS} == tested


def test_diverged_trials_are_told_with_the_learning_rate_and_cap_the_next_space():
    diagnosis = diagnose(make_study(*by_rate(diverged_from=3e-2)))

    evidence = diagnosis.findings.set_index("code").loc["diverged", "evidence"]
    assert evidence == "3 of 8 trials (38%): 3 of 3 from learning_rate=0.03 on, 0 of 5 below"
    assert diagnosis.space["learning_rate"] == (1e-4, 0.03)


def test_edge_is_measured_on_the_scale_of_the_range():
    found = row(make_study(*rates(1.1e-4, 1.2e-4, 1.3e-4, 1e-3, 1e-2)), "at_an_edge")

    assert found["hyperparameter"] == "learning_rate"
    assert found["advice"] == "move the low end of learning_rate to 1e-05"
    assert "best 0.00011, range 0.0001 to 0.1; 3 of the best 5 trials" in found["evidence"]
    assert "at_an_edge" not in codes(make_study(*rates(1e-3, 1.2e-3, 1.3e-3, 1e-2, 1e-2)))


def test_random_search_needs_sixty_trials_whatever_the_dimension():
    assert "too_few_trials" in codes(make_study(*peaked(59), sampler="random"))
    assert "too_few_trials" not in codes(make_study(*peaked(60), sampler="random"))


@pytest.mark.parametrize(("folds", "n_rows"), [(None, 100), (5, 400)])
def test_noise_of_accuracy_counts_the_rows_of_all_folds(folds, n_rows):
    study = make_study(make_trial(0.9), split={"n_train": 300, "n_valid": 100}, folds=folds)

    found = noise(view_of(study))

    assert found.source == f"the standard error of accuracy on {n_rows} validation rows"
    assert found.value == pytest.approx((0.9 * 0.1 / n_rows) ** 0.5, rel=0.1)


def test_noise_of_other_metrics_is_the_jitter_of_the_curve():
    wobbly = [10.0 + (-1) ** epoch for epoch in range(20)]
    trials = [make_trial(9.0 + 0.5 * i, dropout=0.1 * i, metric=wobbly) for i in range(2)]
    steady = np.linspace(10.0, 9.0, 20).tolist()
    calm = [make_trial(9.0 + 0.5 * i, dropout=0.1 * i, metric=steady) for i in range(2)]

    assert "lead_within_noise" in codes(make_study(*trials, metric="rmse", direction="minimize"))
    assert "lead_within_noise" not in codes(make_study(*calm, metric="rmse", direction="minimize"))


def test_empty_study_has_no_findings_and_its_own_space():
    diagnosis = diagnose(make_study())

    assert list(diagnosis.findings) == list(COLUMNS)
    assert diagnosis.findings.empty
    assert diagnosis.space["learning_rate"] == (1e-4, 1e-1)
    assert repr(diagnosis).startswith("study demo, no trials yet: no findings\nnext space: {")
    assert "<table" not in diagnosis._repr_html_()


def test_study_of_plain_optuna_is_diagnosed_from_its_distributions():
    study = optuna.create_study(direction="minimize")
    scale = FloatDistribution(1e-3, 1.0, log=True)
    study.add_trials(
        create_trial(value=x, params={"x": x}, distributions={"x": scale})
        for x in (0.001, 0.0011, 0.0012, 0.5, 0.7)
    )

    diagnosis = diagnose(study)

    assert diagnosis.findings["code"].tolist() == ["at_an_edge", "too_few_trials"]
    assert diagnosis.space == {"x": FloatDistribution(1e-4, 1.0, log=True)}
    assert json.loads(diagnosis.to_json())["space"] == {
        "x": {"low": 1e-4, "high": 1.0, "log": True}
    }


def test_markup_in_an_error_is_shown_as_text_in_a_notebook():
    study = make_study(*[make_trial(state=FAIL, error="<script>alert(1)</script>")] * 3)

    shown = diagnose(study)._repr_html_()

    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_findings_are_shown_whole_in_a_notebook():
    study = make_study(*peaked(10))

    shown = diagnose(study)._repr_html_()

    assert "10 trials for 4 searched hyperparameters; 10 for each is the rule of thumb" in shown


@pytest.mark.parametrize("states", [[FAIL], [PRUNED], [FAIL, TrialState.RUNNING]])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_study_without_a_complete_trial_is_diagnosed_all_the_same(states, direction):
    trials = [make_trial(state=state, stopped="pruned") for state in states * 4]

    diagnosis = diagnose(make_study(*trials, direction=direction))

    assert diagnosis.space["learning_rate"] == (1e-4, 1e-1)


def test_infinite_values_and_conditional_hyperparameters_do_no_harm():
    study = optuna.create_study()
    unit = FloatDistribution(0.0, 1.0)
    for i in range(40):
        names = ["x", "y"] if i % 2 else ["x", "z"]
        study.add_trial(
            create_trial(
                value=float("inf") if i == 3 else i,
                params=dict.fromkeys(names, (i % 10) / 10),
                distributions=dict.fromkeys(names, unit),
            )
        )

    assert set(diagnose(study).space) == {"x", "y", "z"}


def test_diagnosis_reads_as_text_and_as_json():
    study = make_study(make_trial(0.8), make_trial(0.81))

    diagnosis = diagnose(study)

    assert "identical configurations were run more than once" in repr(diagnosis)
    found = json.loads(diagnosis.to_json())
    assert found["findings"][-1]["code"] == "duplicates"
    assert found["findings"][-1]["hyperparameter"] is None
    assert found["space"]["n_layers"] == {"low": 1, "high": 4}


def test_a_range_of_one_number_is_neither_an_edge_nor_a_warning():
    point = {"x": optuna.distributions.FloatDistribution(1.0, 1.0)}
    study = optuna.create_study()
    for value in range(12):
        study.add_trial(
            optuna.trial.create_trial(value=value, params={"x": 1.0}, distributions=point)
        )

    found = diagnose(study)

    assert "at_an_edge" not in found.findings["code"].tolist()
    assert found.space == {"x": 1.0}
