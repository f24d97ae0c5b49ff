import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import get_param_importances
from optuna.trial import TrialState, create_trial

from tuner.storage.importances import equal_step_costs, shares_with_pruned, study_importances

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
DISTRIBUTIONS = {
    "activation": CategoricalDistribution(["relu", "tanh"]),
    "dropout": FloatDistribution(0.0, 0.5),
}


def study_where_tanh_is_pruned(direction="maximize", n_trials=60, seed=0):
    """Half of the trials are bad from the first step and are all pruned at the third."""
    rng, sign = np.random.default_rng(seed), 1 if direction == "maximize" else -1
    study = optuna.create_study(direction=direction)
    for number in range(n_trials):
        activation = ["relu", "tanh"][number % 2]
        dropout = float(rng.uniform(0, 0.5))
        level = (0.8 if activation == "relu" else 0.5) + 0.02 * rng.normal()
        steps = range(10 if activation == "relu" else 3)
        curve = {step: sign * (level - 0.3 * 0.5**step) for step in steps}
        study.add_trial(
            create_trial(
                state=COMPLETE if activation == "relu" else PRUNED,
                value=list(curve.values())[-1],
                params={"activation": activation, "dropout": dropout},
                distributions=DISTRIBUTIONS,
                intermediate_values=curve,
            )
        )
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_choice_whose_bad_half_is_always_pruned_is_important(direction):
    studies = [study_where_tanh_is_pruned(direction, seed=seed) for seed in range(5)]

    shares = [study_importances(study) for study in studies]

    assert np.mean([share["activation"] for share in shares]) > 0.7
    assert all(sum(share.values()) == pytest.approx(1) for share in shares)
    alone = [get_param_importances(study)["activation"] for study in studies]
    assert np.mean(alone) < 0.4  # of complete trials, all of which have the same activation


def test_study_without_pruned_trials_has_the_importances_of_optuna():
    study = optuna.create_study(direction="maximize")
    rng = np.random.default_rng(0)
    for _ in range(30):
        dropout, activation = float(rng.uniform(0, 0.5)), str(rng.choice(["relu", "tanh"]))
        study.add_trial(
            create_trial(
                value=-((dropout - 0.2) ** 2),
                params={"activation": activation, "dropout": dropout},
                distributions=DISTRIBUTIONS,
            )
        )

    assert study_importances(study) == pytest.approx(get_param_importances(study))


def costs(*trials, direction="minimize"):
    values = [t[0] for t in trials]
    curves = [dict(enumerate(t[1])) for t in trials]
    return equal_step_costs(values, curves, [t[2] for t in trials], direction=direction)


GOOD, FAIR = (1.0, [9, 5, 1], COMPLETE), (2.0, [9.5, 6, 2], COMPLETE)


@pytest.mark.parametrize(
    ("pruned", "expected"),
    [
        ([10.0], 2.0),
        ([9.2], 2.0),
        ([8.0], 1.0),
        ([9.2, 7.0], 2.0),
        ([3.0, 8.0], 1.0),  # its best so far is compared, as pruners do
        ([float("nan"), 4.0], 1.0),
        ([], None),
        ([float("nan")], None),
        ([9, 6, 5, 4], 2.0),  # further than any complete one: nothing to stand beside
    ],
)
def test_pruned_trial_stands_where_it_stood_at_its_last_step(pruned, expected):
    last = pruned[-1] if pruned else None

    assert costs(GOOD, FAIR, (last, pruned, PRUNED)) == [1.0, 2.0, expected]


def test_larger_is_better_when_maximizing():
    trials = [(9.0, [1, 5, 9], COMPLETE), (8.0, [0.5, 4, 8], COMPLETE), (2.0, [2], PRUNED)]

    assert costs(*trials, direction="maximize") == [-9.0, -8.0, -9.0]


def test_failed_trials_and_values_that_are_no_numbers_have_no_cost():
    trials = [GOOD, (None, [1.0], FAIL), (float("inf"), [1.0], COMPLETE), (3.0, [3.0], PRUNED)]

    assert costs(*trials) == [1.0, None, None, 1.0]
    assert costs((3.0, [3.0], PRUNED), (None, [], FAIL)) == [None, None]


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-5, 5),
            st.lists(st.floats(-5, 5), max_size=5),
            st.sampled_from([COMPLETE, PRUNED, FAIL]),
        ),
        max_size=12,
    )
)
def test_costs_of_complete_trials_are_their_values_and_others_lie_between(trials):
    found = costs(*trials)

    known = [value for value, _, state in trials if state is COMPLETE and value is not None]
    for (value, _, state), cost in zip(trials, found, strict=True):
        if state is COMPLETE:
            assert cost == value
        assert cost is None or min(known) <= cost <= max(known)


@pytest.mark.parametrize("n_trials", [0, 4])
def test_few_trials_have_no_importances(n_trials):
    assert study_importances(study_where_tanh_is_pruned(n_trials=n_trials)) == {}


def test_trials_that_do_not_differ_have_no_importances():
    same = [{"dropout": 0.1}] * 8
    drawn = [{"dropout": DISTRIBUTIONS["dropout"]}] * 8

    assert shares_with_pruned(same, drawn, list(range(8))) == {}
    varied = [{"dropout": k / 20} for k in range(8)]
    assert shares_with_pruned(varied, drawn, [1.0] * 8) == {}
    assert shares_with_pruned(varied, drawn, [None] * 8) == {}
