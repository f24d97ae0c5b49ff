"""A study that begins with another one's trials, after its space was narrowed or widened."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from tuner import load_study, tune
from tuner.storage.backends import open_storage

QUIET = {"show_progress_bar": False}


def square(trial):
    trial.report(trial.params["x"], 0)
    return trial.params["x"] ** 2


def origins(result):
    """Numbers under which another study brought in a result's trials; None for its own."""
    found = [trial.user_attrs.get("fusetune:origin") for trial in result.study.trials]
    return [None if origin is None else origin["number"] for origin in found]


def listed(*trials, **space):
    return tune(square, space=space, sampler="manual", trials=trials, study_name="first", **QUIET)


@pytest.fixture(scope="module")
def five():
    trials = [{"x": x, "n": n} for x, n in [(0.0, 1), (0.25, 2), (0.5, 4), (0.6, 2), (1.0, 4)]]
    return listed(*trials, x=(0.0, 1.0), n=[1, 2, 4], kind="a")


FITTING = {
    "the same space": ({"x": (0.0, 1.0), "n": [1, 2, 4], "kind": "a"}, [0, 1, 2, 3, 4]),
    "narrower, the ends within": ({"x": (0.25, 0.6), "n": [1, 2, 4], "kind": "a"}, [1, 2, 3]),
    "wider": ({"x": (-1.0, 9.0), "n": (1, 8), "kind": "a"}, [0, 1, 2, 3, 4]),
    "fewer choices": ({"x": (0.0, 1.0), "n": [2, 1], "kind": "a"}, [0, 1, 3]),
    "a range of whole numbers": ({"x": (0.0, 1.0), "n": (2, 3), "kind": "a"}, [1, 3]),
    "in steps": (
        {
            "x": FloatDistribution(0.0, 1.0, step=0.25),
            "n": IntDistribution(2, 4, step=2),
            "kind": "a",
        },
        [1, 2, 4],
    ),
    "fixed": ({"x": (0.0, 1.0), "n": 4, "kind": "a"}, [2, 4]),
    "searched, was fixed": ({"x": (0.0, 0.5), "n": [1, 2, 4], "kind": ["b", "a"]}, [0, 1, 2]),
}


@pytest.mark.parametrize("case", FITTING)
def test_a_study_begins_with_the_trials_that_lie_in_its_space(case, five):
    space, expected = FITTING[case]
    n = len(expected) + 2

    result = tune(square, space=space, start_from=five, n_trials=n, **QUIET)

    assert origins(result) == [*expected, None, None]
    old = five.trials_dataframe().loc[expected].drop(columns="number").reset_index(drop=True)
    assert result.trials_dataframe().drop(columns="number").loc[: n - 3].equals(old)
    assert {t.intermediate_values.get(0) for t in result.study.trials[:-2]} == set(old["params_x"])


UNFIT = {
    "outside": ({"x": (2.0, 3.0), "n": [1, 2, 4], "kind": "a"}, "x of 5"),
    "a hyperparameter more": ({"x": (0.0, 1.0), "n": (1, 4), "kind": "a", "m": [1, 2]}, "m of 5"),
    "one less": ({"x": (0.0, 1.0), "n": [1, 2, 4]}, "kind of 5"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_where_no_trial_fits_the_study_begins_afresh_and_says_why(case, five):
    space, words = UNFIT[case]

    with pytest.warns(UserWarning, match=rf"none of the 5 trials of study 'first'.*{words}"):
        result = tune(square, space=space, start_from=five, n_trials=1, **QUIET)

    assert origins(result) == [None]


def test_failed_trials_are_left_out_and_no_configuration_is_drawn_again():
    broken = {2}

    def repaired(trial):
        if trial.number in broken:
            raise ArithmeticError
        return square(trial)

    call = {"space": {"x": (0.0, 1.0)}, "sampler": "random", **QUIET}
    first = tune(repaired, n_trials=6, study_name="first", **call)
    broken.clear()
    second = tune(repaired, n_trials=12, start_from=first, **call)

    assert origins(second) == [0, 1, 3, 4, 5, *[None] * 7]
    assert second.trials_dataframe()["params_x"].is_unique


def test_a_function_that_suggests_by_itself_brings_all_its_trials():
    def suggests(trial):
        return trial.suggest_float("x", 0, 1) ** 2

    first = tune(suggests, n_trials=3, study_name="first", **QUIET)
    second = tune(suggests, n_trials=4, start_from=first, **QUIET)
    by_optuna = optuna.create_study()
    by_optuna.optimize(suggests, n_trials=2)

    assert origins(second) == [0, 1, 2, None]
    third = tune(suggests, n_trials=3, start_from=by_optuna, **QUIET)
    assert origins(third) == [0, 1, None]


def test_thirty_trials_follow_where_no_total_is_given(five):
    call = {"space": {"x": (0.0, 1.0), "n": (1, 4), "kind": "a"}, "start_from": five, **QUIET}

    result = tune(square, sampler="random", **call)

    assert len(result.study.trials) == 35


def test_a_total_that_leaves_nothing_to_train_is_told(five):
    space = {"x": (0.0, 1.0), "n": (1, 4), "kind": "a"}

    with pytest.warns(UserWarning, match=r"begins with 5 .*n_trials=5 .* raise n_trials above 5"):
        tune(square, space=space, start_from=five, n_trials=5, **QUIET)


def test_tpe_learns_from_the_trials_at_once():
    xs = np.linspace(0, 1, 12)
    drawn = []
    for sign in (1, -1):
        first = tune(
            lambda trial, sign=sign: sign * trial.params["x"],
            space={"x": (0.0, 1.0)},
            sampler="manual",
            trials=[{"x": float(x)} for x in xs],
            study_name="first",
            **QUIET,
        )
        second = tune(
            lambda trial, sign=sign: sign * trial.params["x"],
            space={"x": (-1.0, 2.0)},
            start_from=first,
            n_trials=15,
            **QUIET,
        )
        drawn.append(second.trials_dataframe()["params_x"].tail(3).mean())

    assert drawn[0] < 0.5 < drawn[1]


@pytest.fixture(params=["s.journal", "s.db"])
def storage(request, tmp_path):
    return tmp_path / request.param


def test_the_same_call_made_twice_does_nothing_the_second_time(storage):
    call = {"storage": storage, **QUIET}
    space = {"x": (0.0, 1.0)}
    tune(square, space=space, n_trials=4, study_name="first", **call)
    narrow = call | {"space": {"x": (-1.0, 1.0)}, "study_name": "second", "start_from": "first"}
    second = tune(square, n_trials=6, **narrow)
    tune(square, space=space, n_trials=9, study_name="first", **call)

    again = tune(square, n_trials=6, **narrow)
    later = tune(square, n_trials=8, **narrow)

    assert again.trials_dataframe().equals(second.trials_dataframe())
    assert origins(later) == [0, 1, 2, 3, None, None, None, None]


def test_a_study_with_trials_of_its_own_takes_in_those_of_another(storage):
    call = {"storage": storage, "space": {"x": (0.0, 1.0)}, **QUIET}
    tune(square, n_trials=2, study_name="first", **call)
    tune(square, n_trials=3, study_name="second", seed=1, **call)

    result = tune(square, n_trials=6, study_name="second", seed=1, start_from="first", **call)

    assert origins(result) == [None, None, None, 0, 1, None]


def test_a_study_of_another_storage_may_have_the_same_name(tmp_path, five):
    space = {"x": (0.0, 1.0), "n": (1, 4), "kind": "a"}
    call = {"space": space, "n_trials": 6, "start_from": five.study, "study_name": "first"}

    result = tune(square, storage=tmp_path / "s.journal", **call, **QUIET)

    assert origins(result) == [0, 1, 2, 3, 4, None]


def test_what_cannot_be_started_from_is_one_sentence_and_leaves_nothing_behind(tmp_path):
    storage = tmp_path / "s.journal"
    call = {"storage": storage, "space": {"x": (0.0, 1.0)}, "n_trials": 3, **QUIET}
    first = tune(square, study_name="first", **call)
    optuna.create_study(storage=open_storage(storage), study_name="empty")
    mistakes = [
        ({"start_from": "frist"}, ValueError, r"name of a study in .*; did you mean 'first'\?"),
        ({"start_from": "empty"}, ValueError, "with complete or pruned trials, got 'empty'"),
        ({"start_from": 3}, TypeError, "must be a study's name, .* or a TuningResult, got int"),
        ({"start_from": first, "direction": "maximize"}, ValueError, "minimize, now to maximize"),
        ({"start_from": "first", "study_name": "first"}, ValueError, "got 'first' for both"),
        ({"start_from": load_study(storage, "first"), "study_name": "first"}, ValueError, "both"),
        ({"start_from": "first", "storage": None}, ValueError, r"in the storage \(none\)"),
    ]

    for changed, error, words in mistakes:
        with pytest.raises(error, match=words) as raised:
            tune(square, **call | {"study_name": "second"} | changed)
        assert "\n" not in str(raised.value)
    assert "second" not in optuna.get_all_study_names(storage=open_storage(storage))
    assert len(load_study(storage, "first").trials) == 3
