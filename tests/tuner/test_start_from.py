"""A study that begins with another one's trials, after its space was narrowed or widened."""

import json
import os
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

from objectives.data import load_tabular
from tests.objectives.networks import KINDS, PICTURES, SHADES, SIGNALS, build_flat
from tuner import (
    StudyMismatchError,
    load_study,
    tune,
    tune_cnn,
    tune_finetune,
    tune_mlp,
    tune_module,
)
from tuner.records import records

QUIET = {"show_progress_bar": False}
FAST = {"epochs": 2, **QUIET}
SMALL = {"n_layers": 1, "hidden_units": 4, "activation": "relu", "optimizer": "adam"}


def square(trial):
    trial.report(trial.params["x"], 0)
    return trial.params["x"] ** 2


def origins(result):
    """Numbers under which another study brought in a result's trials; None for its own."""
    found = [trial.user_attrs.get("origin") for trial in result.study.trials]
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
        {"x": FloatDistribution(0.0, 1.0, step=0.25), "n": IntDistribution(2, 4, step=2),
         "kind": "a"}, [1, 2, 4],
    ),
    "fixed": ({"x": (0.0, 1.0), "n": 4, "kind": "a"}, [2, 4]),
    "searched, was fixed": ({"x": (0.0, 0.5), "n": [1, 2, 4], "kind": ["b", "a"]}, [0, 1, 2]),
}  # fmt: skip


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
            lambda trial, sign=sign: sign * trial.params["x"], space={"x": (0.0, 1.0)},
            sampler="manual", trials=[{"x": float(x)} for x in xs], study_name="first", **QUIET,
        )  # fmt: skip
        second = tune(
            lambda trial, sign=sign: sign * trial.params["x"], space={"x": (-1.0, 2.0)},
            start_from=first, n_trials=15, **QUIET,
        )  # fmt: skip
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
    optuna.create_study(storage=optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(storage))), study_name="empty")  # fmt: skip
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
    assert "second" not in optuna.get_all_study_names(storage=_opened(storage))
    assert len(load_study(storage, "first").trials) == 3


def _opened(path):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


# --- networks


@pytest.fixture(scope="module")
def iris():
    return load_tabular("iris")


@pytest.fixture(scope="module")
def first(iris):
    trials = [{"dropout": 0.5}, {"learning_rate": 0.02}, {"batch_size": 100, "dropout": 0.0}]
    return tune_mlp(
        iris, sampler="manual", trials=[*trials, {"learning_rate": 0.05, "batch_size": 16}],
        space=SMALL, study_name="first", epochs=8, **QUIET,
    )  # fmt: skip


NARROW = SMALL | {"dropout": (0.0, 0.3), "learning_rate": (1e-3, 0.05), "batch_size": (16, 64)}


def test_the_model_of_a_trial_that_was_brought_in_is_the_one_that_was_trained(iris, first):
    call = {"space": NARROW, "epochs": 8, "include_default": False, **QUIET}
    with pytest.warns(UserWarning, match="none is left to train"):
        second = tune_mlp(iris, start_from=first, seed=5, n_trials=2, **call)
    with pytest.warns(UserWarning, match="none is left to train"):
        third = tune_mlp(iris, start_from=second, seed=6, n_trials=1,
                         **call | {"space": NARROW | {"batch_size": 16}})  # fmt: skip

    assert first.best_trial.number == 3
    assert origins(second) == [1, 3]
    assert origins(third) == [1]
    assert second.study.trials[1].params["log2_batch_size"] == 4
    X = iris.valid.X
    expected = first.model.predict_proba(X)
    for result in (second, third):
        assert result.best_value == first.best_value
        assert np.array_equal(result.model.predict_proba(X), expected)
        assert result.refit().predict_proba(X) == pytest.approx(first.refit().predict_proba(X))
        assert records(result.best_trial)["seed"] == records(first.best_trial)["seed"]
    assert second.curves_dataframe()["learning_rate"].max() > 0


SEARCHES = {
    # The default configuration is trial 2 of the first study; learning rates are 0.01 and 0.1.
    "tpe": ({"n_trials": 6}, 6),
    "random": ({"sampler": "random", "n_trials": 6}, 6),
    "enqueued": ({"enqueue": [{"learning_rate": 0.1}, {"learning_rate": 0.002}],
                  "n_trials": 6}, 6),
    "grid": ({"sampler": "grid"}, 5),
    "grid, in part": ({"sampler": "grid", "n_trials": 4}, 4),
    "manual": ({"sampler": "manual", "trials": [{"learning_rate": 0.01},
                                                {"learning_rate": 0.003}]}, 4),
}  # fmt: skip


@pytest.mark.parametrize("search", SEARCHES)
def test_what_was_brought_in_is_not_trained_again(search, iris):
    fixed = SMALL | {"dropout": 0.2, "batch_size": 64}
    rates = [0.001, 0.002, 0.003, 0.01, 0.1]
    old = tune_mlp(iris, sampler="manual", space=fixed, study_name="first",
                   trials=[{"learning_rate": r} for r in (0.01, 0.1, 0.001)], **FAST)  # fmt: skip
    options, total = SEARCHES[search]
    wish = rates if options.get("sampler") in ("grid", "manual") else (1e-3, 0.1)

    result = tune_mlp(
        iris, space=fixed | {"learning_rate": wish}, start_from=old, **options, **FAST
    )

    table = result.trials_dataframe()
    assert origins(result)[:3] == [0, 1, 2]
    assert len(table) == total
    assert table["params_learning_rate"].is_unique
    if search == "enqueued":
        assert table["params_learning_rate"][4] == 0.002  # after the recipe's good one


def test_a_study_of_other_data_or_training_is_not_started_from(iris, first):
    by_optuna = optuna.create_study(direction="maximize")
    call = {"space": NARROW, "start_from": first, "n_trials": 9, **FAST}
    others = [
        (("wine", {}), "which was tuned on other data"),
        (("iris", {"seed": 1}), "split seed 0, now 1"),
        ((iris, {"metric": "roc_auc"}), "metric 'accuracy', now 'roc_auc'"),
        ((iris, {"metric": "log_loss"}), "was to maximize, now to minimize"),
        ((iris, {"recipe": "plain"}), "recipe 'modern', now 'plain'"),
        ((iris, {"patience": 3}), "patience 20, now 3"),
        ((iris, {"start_from": by_optuna}), "made by Optuna alone"),
    ]

    for (data, changed), words in others:
        with pytest.raises(StudyMismatchError, match=f"start_from must be .*{words}"):
            tune_mlp(data, **call | changed)


def test_folds_are_the_same_only_under_the_same_seed(iris):
    call = {"space": SMALL, "folds": 2, **FAST}
    cross = tune_mlp(iris, n_trials=1, study_name="first", **call)

    with pytest.raises(StudyMismatchError, match="seed 0, now 1"):
        tune_mlp(iris, n_trials=2, seed=1, start_from=cross, **call)


def test_a_test_split_that_was_opened_before_is_no_longer_unseen():
    call = {"space": SMALL, **FAST}
    opened = tune_mlp("iris", n_trials=1, study_name="first", **call)
    opened.test_score()

    with pytest.warns(UserWarning, match="goes on after its test split was opened"):
        tune_mlp("iris", n_trials=2, start_from=opened, **call)


IMAGE = {"hidden_units": 4, "augmentation": "none"}
NETWORKS = {
    "module": (
        tune_module, (build_flat, (SIGNALS, KINDS)), {"width": (4, 8)}, {"width": (4, 9)}, {},
    ),
    "cnn": (tune_cnn, ((PICTURES, SHADES),), IMAGE, IMAGE | {"hidden_units": [4, 6]}, {}),
    "finetune": (
        tune_finetune, ((PICTURES, SHADES),), {"dropout": 0.0}, {"dropout": (0.0, 0.1)},
        {"backbone": "mobilenet_v3_small", "image_size": 16, "weights": None, "epochs": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["module", "cnn", pytest.param("finetune", marks=pytest.mark.slow)]
)
def test_other_networks_start_from_a_study_too(name, tmp_path):
    function, data, old, new, options = NETWORKS[name]
    call = FAST | {"storage": tmp_path / "s.journal"} | options
    function(*data, space=old, study_name="first", n_trials=1, **call)

    result = function(*data, space=new, start_from="first", n_trials=2, **call)

    assert origins(result) == [0, None]


# --- kills

KILLED = """
import json, os, signal, sys, threading, time
from tuner import tune

path = sys.argv[1]
call = {"space": {"x": (0.0, 2.0)}, "storage": path, "show_progress_bar": False}

def square(trial):
    return trial.params["x"] ** 2

def copied():
    with open(path, "rb") as file:
        return file.read().count(b'"trained_as"')

def kill_at(n):
    while copied() < n:
        time.sleep(0.0002)
    os.kill(os.getpid(), signal.SIGKILL)

def begin():
    tune(square, start_from="first", study_name="second", n_trials=44, sampler="random", **call)

def child(n):
    pid = os.fork()
    if not pid:
        if n is not None:
            threading.Thread(target=kill_at, args=(n,), daemon=True).start()
        begin()
        os._exit(0)
    return pid

tune(square, n_trials=40, study_name="first", **call | {"space": {"x": (0.0, 1.0)}})
said = []
for n in json.loads(sys.argv[2]):
    pids = [child(k) for k in n]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    said.append([statuses, copied()])
print(json.dumps(said))
"""


def run_killed(path, moments):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), json.dumps(moments)], capture_output=True,
        text=True, timeout=250, env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(os.name == "nt", reason="forks and kills as POSIX does")
@pytest.mark.slow
def test_killed_while_it_copies_a_study_has_each_trial_once_in_the_end(tmp_path):
    path = tmp_path / "s.journal"

    said = run_killed(path, [[1], [7], [8], [23], [39], [None]])

    assert [statuses for statuses, _ in said] == [[-9]] * 5 + [[0]]
    assert 0 < said[0][1] < 40
    assert 0 < said[3][1] < 40
    check_second(path)


@pytest.mark.skipif(os.name == "nt", reason="forks and kills as POSIX does")
@pytest.mark.slow
def test_processes_that_begin_a_study_at_once_copy_each_trial_once_also_if_one_is_killed(tmp_path):
    path = tmp_path / "s.journal"

    said = run_killed(path, [[None, 9, None]])

    assert said[0][0].count(0) >= 2
    check_second(path)


def check_second(path):
    trials = load_study(path, "second").trials
    numbers = [t.user_attrs["origin"]["number"] for t in trials if "origin" in t.user_attrs]
    assert sorted(numbers) == list(range(40))
    assert len(trials) == 44
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
