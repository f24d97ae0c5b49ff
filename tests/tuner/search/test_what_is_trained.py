"""A study's parameters are those that were trained, whatever was asked for."""

import warnings

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuner.noted import Noted
from tuner import tune

SPACE = {"learning_rate": [0.1, 0.01]}
NUMBERS = st.one_of(st.integers(-3, 9), st.floats(-3, 9).map(lambda x: round(x, 2)))
ENTRIES = st.one_of(
    st.just((0.5, 4.0)),
    st.just((1, 8)),
    st.lists(NUMBERS, min_size=1, max_size=3),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3),
    st.sampled_from([3, 0.25, "a"]),
    st.just(optuna.distributions.FloatDistribution(0.01, 10, log=True)),
    st.just(optuna.distributions.FloatDistribution(0, 4, step=0.5)),
    st.just(optuna.distributions.IntDistribution(1, 64, log=True)),
)
SPACES = st.dictionaries(st.sampled_from("xyz"), ENTRIES, min_size=1)
VALUES = st.one_of(NUMBERS, st.sampled_from(["a", "b", "c"]))
CONFIGURATIONS = st.lists(st.dictionaries(st.sampled_from("xyz"), VALUES), max_size=3)
SAMPLERS = {
    "grid": lambda: "grid",
    "manual": lambda: "manual",
    "random": lambda: "random",
    "tpe": lambda: "tpe",
    "TPE": lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=2),
    "fixed": lambda: optuna.samplers.PartialFixedSampler(
        {"x": 2}, optuna.samplers.RandomSampler(seed=0)
    ),
}


def tuned(objective, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Optuna, on values outside the range and the like
        return tune(objective, pruner="none", show_progress_bar=False, **options)


def untruths(study, objective):
    """What the study says otherwise than it was trained."""
    stored = {row.stored_name: name for name, row in objective.space.items()}
    return [
        (trial.number, name, value, objective.trained[trial.number])
        for trial in study.trials
        for name, value in trial.params.items()
        if objective.trained[trial.number][stored[name]] != value
    ]


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(SAMPLERS)), SPACES, CONFIGURATIONS, CONFIGURATIONS)
def test_parameters_of_a_study_are_those_trained_or_it_never_begins(name, space, asked, later):
    options = {"sampler": SAMPLERS[name](), "n_trials": 5}
    options |= {"trials": asked} if name == "manual" else {"enqueue": asked}
    storage = optuna.storages.InMemoryStorage()
    try:
        objective = Noted(space)
        result = tuned(objective, storage=storage, **options)
    except ValueError:
        assert optuna.get_all_study_names(storage) == []
        return
    for params in later:
        n_trials = len(result.study.trials)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result.try_params(**params)
        except ValueError:
            assert len(result.study.trials) == n_trials

    table = result.trials_dataframe()
    assert untruths(result.study, objective) == []
    for number, trained in objective.trained.items():
        row = table.loc[table["number"] == number].iloc[0]
        assert {f"params_{k}": v for k, v in trained.items()} == {
            f"params_{k}": row[f"params_{k}"] if isinstance(v, str) else type(v)(row[f"params_{k}"])
            for k, v in trained.items()
        }


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "grid", "enqueue": [{"learning_rate": 0.05}]},
        {"sampler": "tpe", "enqueue": [{"learning_rate": 0.05}]},
        {"sampler": "random", "enqueue": [{"learning_rate": 0.05}]},
        {"sampler": "manual", "trials": [{"learning_rate": 0.05}]},
    ],
    ids=["grid", "tpe", "random", "manual"],
)
def test_a_value_that_the_study_cannot_tell_is_refused_before_there_is_a_study(options, tmp_path):
    storage = optuna.storages.InMemoryStorage()
    with pytest.raises(ValueError, match=r"learning_rate must be one of 0\.1, 0\.01 .*got 0\.05"):
        tuned(Noted(SPACE), storage=storage, **options)

    assert optuna.get_all_study_names(storage) == []


def test_a_trial_by_hand_that_the_study_cannot_tell_is_refused():
    result = tuned(Noted(SPACE), sampler="grid")

    with pytest.raises(ValueError, match="put the value into space"):
        result.try_params(learning_rate=0.05)

    assert [trial.params["learning_rate"] for trial in result.study.trials] == [0.1, 0.01]


def test_a_number_outside_the_range_is_stored_as_it_is(tmp_path):
    objective = Noted({"x": (0.0, 1.0)})
    result = tuned(objective, enqueue=[{"x": 3.0}], n_trials=1, storage=tmp_path / "s.db")
    result.try_params(x=-2.0)

    assert [trial.params["x"] for trial in result.study.trials] == [3.0, -2.0]
    assert [params["x"] for params in objective.trained.values()] == [3.0, -2.0]


def test_what_an_earlier_version_queued_otherwise_is_trained_as_the_study_says(tmp_path):
    """It queued 0.05 where the study could hold 0.1 and 0.01 alone."""
    storage, objective = tmp_path / "s.journal", Noted(SPACE)
    study = tuned(objective, sampler="grid", n_trials=1, storage=storage).study
    study.enqueue_trial({}, user_attrs={"params": {"learning_rate": 0.05}})

    study = tuned(objective, sampler="grid", storage=storage).study

    assert untruths(study, objective) == []
    assert [t.user_attrs["fusetune:params"] for t in study.trials] == [
        t.params for t in study.trials
    ]


def test_a_function_that_does_not_ask_for_a_queued_value_is_not_said_to_have_used_it():
    result = tuned(
        lambda trial: trial.suggest_float("x", 0, 1), enqueue=[{"x": 0.5, "y": 2}], n_trials=1
    )

    assert "params_y" not in result.trials_dataframe()
    assert result.best_params == {"x": 0.5}


@pytest.mark.parametrize("space", [{"x": 0.5, "y": (0.0, 1.0)}, {"x": [0.5], "y": [0.25, 2]}])
@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_function_gets_from_its_trial_what_the_space_says_fixed_values_too(space, sampler):
    """However it asks: by name, or by suggesting from a range of its own."""
    asked = []

    def objective(trial):
        suggested = trial.suggest_float("x", 7, 10), trial.suggest_float("y", 0, 10)
        asked.append((suggested, (trial.params["x"], trial.params["y"])))
        return sum(suggested)

    if sampler == "grid":
        space = {"x": space["x"], "y": [0.25, 2]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = tune(objective, space=space, sampler=sampler, n_trials=2, show_progress_bar=False)

    table = result.trials_dataframe()
    assert table["state"].tolist() == ["COMPLETE", "COMPLETE"]
    assert [suggested for suggested, _ in asked] == [named for _, named in asked]
    assert [suggested for suggested, _ in asked] == [
        tuple(row) for row in table[["params_x", "params_y"]].to_numpy().tolist()
    ]
    assert set(table["params_x"]) == {0.5}


def test_a_function_still_draws_what_its_space_does_not_name():
    def objective(trial):
        return trial.params["x"] + trial.suggest_int("depth", 2, 3)

    table = tuned(objective, space={"x": 0.5}, n_trials=4).trials_dataframe()

    assert (table["value"] - table["params_depth"]).tolist() == [0.5] * 4
    assert set(table["params_depth"]) <= {2, 3}


def test_a_trial_by_hand_of_a_name_that_no_trial_has_had_is_refused():
    result = tuned(lambda trial: trial.suggest_float("width", 0, 1), n_trials=2)

    with pytest.raises(ValueError, match="got 'widht'; did you mean 'width'"):
        result.try_params(widht=0.5)

    assert len(result.study.trials) == 2
    assert result.try_params(width=0.5).study.trials[-1].params == {"width": 0.5}


def test_trials_of_a_study_that_told_another_value_are_copied_without_it():
    source = optuna.create_study(study_name="old")
    source.add_trial(
        optuna.trial.create_trial(
            value=0.5,
            params={"x": 0.1},
            distributions={"x": optuna.distributions.CategoricalDistribution([0.1, 0.01])},
            user_attrs={"params": {"x": 0.05}, "record": {"stopped": "returned"}},
        )
    )
    result = tuned(lambda trial: 1.0, start_from=source, n_trials=1)

    copied = result.study.trials[0]
    assert (copied.params, result.trials_dataframe()["params_x"][0]) == ({}, 0.05)
