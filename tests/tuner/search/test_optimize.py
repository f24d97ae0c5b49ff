"""Searches: what each sampler runs, how trials end, budgets, interruptions and mistakes."""

import re
import subprocess
import sys
import time

import optuna
import pytest

from objectives import MLPObjective
from objectives.space.tables import MLP_TABLE
from tuner import tune, tune_mlp

SMALL = {"hidden_units": 8, "n_layers": 1, "batch_size": 32}
QUIET = {"show_progress_bar": False}
FAST = {"epochs": 2, **QUIET}


def params(result, *names):
    frame = result.trials_dataframe()
    return list(zip(*(frame[f"params_{name}"].tolist() for name in names), strict=True))


def square(trial):
    return trial.params["x"] ** 2


# --- samplers ---


def test_a_grid_visits_each_cell_once_and_says_how_many_there_are(capsys):
    space = {"learning_rate": [0.1, 0.01], "dropout": [0.0, 0.2, 0.4], **SMALL}

    result = tune_mlp("iris", sampler="grid", space=space, **FAST)

    cells = params(result, "learning_rate", "dropout")
    assert sorted(cells) == [(r, d) for r in (0.01, 0.1) for d in (0.0, 0.2, 0.4)]
    assert "grid of 6 trials" in capsys.readouterr().err
    assert set(params(result, "activation", "optimizer")) == {("relu", "adam")}


def test_a_grid_without_a_space_is_the_documented_starter_grid(capsys):
    result = tune_mlp("iris", sampler="grid", n_trials=2, **FAST)

    assert "grid of 60 trials" in capsys.readouterr().err
    assert len(result.trials_dataframe()) == 2


def test_a_manual_search_runs_the_given_configurations_with_defaults_for_the_rest():
    trials = [{"learning_rate": 0.01, "batch_size": "full"}, {"n_layers": 3, "batch_size": 1}]

    result = tune_mlp("iris", sampler="manual", trials=trials, epochs=1, show_progress_bar=False)

    assert params(result, "learning_rate", "n_layers", "batch_size") == [
        (0.01, 2, "full"),
        (0.001, 3, "1"),
    ]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_begins_with_the_default_configuration_and_then_the_users_own(sampler):
    result = tune_mlp("iris", sampler=sampler, n_trials=4, enqueue=[{"dropout": 0.44}], **FAST)

    defaults = {name: row.default for name, row in MLP_TABLE.items()} | {"epochs": 2}
    assert result.study.trials[0].user_attrs["fusetune:params"] == defaults
    assert params(result, "dropout")[1] == (0.44,)


def trained(result):
    return [trial.user_attrs["fusetune:params"] for trial in result.study.trials]


def test_tpe_tries_the_portfolio_before_it_draws_and_random_search_does_not():
    space = {"epochs": 1, "hidden_units": (16, 512)}
    objective = MLPObjective("iris", space=space)
    n_trials = len(objective.portfolio) + 2

    found = {
        sampler: trained(tune_mlp("iris", sampler=sampler, space=space, n_trials=n_trials, **QUIET))
        for sampler in ("tpe", "random")
    }

    assert found["tpe"][1:-1] == objective.portfolio
    assert found["tpe"][-1] not in objective.portfolio
    assert not any(params in objective.portfolio for params in found["random"])


def test_only_configurations_that_lie_in_the_users_space_are_tried_first():
    whole = MLPObjective("iris").portfolio
    space = {"n_layers": whole[0]["n_layers"], "batch_size": (16, 32)}

    portfolio = MLPObjective("iris", space=space).portfolio

    same = [params for params in whole if params["n_layers"] == whole[0]["n_layers"]]
    assert 0 < len(same) < len(whole)
    assert portfolio == [params | {"batch_size": 32} for params in same]


def test_a_search_that_is_continued_begins_like_a_long_one(tmp_path):
    call = {"storage": tmp_path / "study.journal", "space": {"epochs": 1}, **QUIET}

    first = tune_mlp("iris", n_trials=3, **call)
    assert len(first.study.trials) == 3
    continued = tune_mlp("iris", n_trials=5, **call)

    at_once = tune_mlp("iris", n_trials=5, space={"epochs": 1}, **QUIET)
    assert trained(continued) == trained(at_once)


def test_an_optuna_sampler_is_used_as_it_is():
    sampler = optuna.samplers.TPESampler(seed=1, n_startup_trials=2)

    result = tune_mlp("iris", sampler=sampler, n_trials=3, space=SMALL, **FAST)

    assert len(result.trials_dataframe()) == 3
    assert result.study.user_attrs["fusetune"]["sampler"] == "TPESampler"


def test_every_documented_hyperparameter_can_be_searched():
    space = {name: list(row.grid)[:2] for name, row in MLP_TABLE.items()}
    space |= {"epochs": (1, 3), "momentum": (0.5, 0.99), "weight_decay": (1e-5, 1e-2)}
    space |= {"hidden_units": [4, 8], "batch_size": ["full", 16]}

    result = tune_mlp("iris", sampler="random", n_trials=6, space=space, show_progress_bar=False)

    frame = result.trials_dataframe()
    assert len(frame) == 6
    assert frame["params_momentum"].between(0.5, 0.99).all()
    assert all(frame[f"params_{name}"].nunique() > 1 for name in space)


def test_same_seed_gives_the_same_table_in_another_process():
    code = (
        "from tuner import tune_mlp\n"
        "r = tune_mlp('iris', n_trials=14, epochs=2, seed=5, show_progress_bar=False)\n"
        "frame = r.trials_dataframe().drop(columns='duration_s')\n"
        "print(frame.to_json(double_precision=15))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200
        ).stdout
        for _ in range(2)
    ]
    other = tune_mlp("iris", n_trials=14, seed=6, **FAST)

    assert runs[0] == runs[1]
    assert other.trials_dataframe().drop(columns="duration_s").to_json(double_precision=15) != (
        runs[0].strip()
    )


# --- how trials end ---


def test_early_stopped_and_pruned_trials_are_told_apart():
    result = tune_mlp(
        "breast_cancer",
        n_trials=14,
        epochs=30,
        patience=3,
        space=SMALL,
        pruner="median",
        show_progress_bar=False,
    )

    frame = result.trials_dataframe()
    endings = frame.groupby("state")["stopped"].unique()
    assert set(endings["COMPLETE"]) == {"patience"}
    reason = re.compile(r"pruned at epoch \d+: 0\.\d+ below (0\.\d+|1), the median of \d+ trials")
    assert [text for text in endings["PRUNED"] if not reason.fullmatch(text)] == []
    assert frame.loc[frame["stopped"] == "patience", "epochs_run"].max() < 30
    assert frame.loc[result.best_trial.number, "state"] == "COMPLETE"


def test_a_diverged_trial_is_pruned_and_says_when():
    rates = [1e-3, 1e20]
    trials = [{"learning_rate": rate, "optimizer": "sgd"} for rate in rates]

    result = tune_mlp("diabetes", sampler="manual", trials=trials, recipe="plain", **FAST)

    frame = result.trials_dataframe()
    assert frame["state"].tolist() == ["COMPLETE", "PRUNED"]
    assert frame["stopped"].tolist() == ["epochs", "diverged at epoch 0"]
    assert frame["value"].isna().tolist() == [False, True]


def test_timeout_ends_a_trial_under_way_which_still_counts():
    start = time.monotonic()
    result = tune_mlp(
        "digits",
        timeout=1.5,
        n_trials=1,
        space={"epochs": 100_000},
        patience=None,
        show_progress_bar=False,
    )

    frame = result.trials_dataframe()
    assert frame["state"].tolist() == ["COMPLETE"]
    assert frame["stopped"].tolist() == ["timeout"]
    assert frame["best_epoch"].iloc[0] >= 0
    assert time.monotonic() - start < 60


def test_ctrl_c_returns_what_there_is_and_a_later_call_goes_on(tmp_path, capsys):
    def interrupt(study, trial):
        if trial.number == 2:
            raise KeyboardInterrupt

    call = {"space": SMALL, "n_trials": 6, "storage": tmp_path / "s.journal", **FAST}
    broken = tune_mlp("iris", callbacks=[interrupt], **call)
    assert len(broken.trials_dataframe()) == 3
    assert "interrupted" in capsys.readouterr().err

    whole = tune_mlp("iris", **call)

    unbroken = tune_mlp("iris", **(call | {"storage": None}))
    assert whole.trials_dataframe()["value"].tolist() == (
        unbroken.trials_dataframe()["value"].tolist()
    )


def test_a_callback_can_stop_the_study():
    result = tune_mlp(
        "iris", n_trials=9, callbacks=[lambda study, trial: study.stop()], space=SMALL, **FAST
    )

    assert len(result.trials_dataframe()) == 1


# --- one's own objective ---


def test_a_function_runs_with_our_samplers_and_tables():
    result = tune(square, space={"x": (-1.0, 1.0)}, n_trials=20, show_progress_bar=False)

    frame = result.trials_dataframe()
    assert len(frame) == 20
    assert frame["value"].tolist() == pytest.approx((frame["params_x"] ** 2).tolist())
    assert result.best_value < 0.1


def test_a_function_that_suggests_by_itself_needs_no_space():
    result = tune(lambda trial: trial.suggest_int("n", 1, 4), n_trials=5, show_progress_bar=False)

    assert result.best_params == {"n": int(result.best_value)}
    assert set(result.trials_dataframe()["params_n"]) <= {1, 2, 3, 4}


def test_a_function_may_report_and_prune():
    def objective(trial):
        for step in range(3):
            trial.report(trial.params["x"], step)
            if trial.params["x"] > 0.5:
                raise optuna.TrialPruned
        return trial.params["x"]

    result = tune(objective, space={"x": [0.1, 0.9]}, sampler="grid", show_progress_bar=False)

    frame = result.trials_dataframe().set_index("params_x")
    assert frame["state"].to_dict() == {0.1: "COMPLETE", 0.9: "PRUNED"}


def test_a_trial_that_raises_fails_and_the_study_goes_on():
    def objective(trial):
        if trial.params["x"] == 2:
            raise RuntimeError("no such thing")
        return trial.params["x"]

    space = {"x": [1, 2, 3, 4]}
    result = tune(objective, space=space, sampler="grid", show_progress_bar=False)

    frame = result.trials_dataframe()
    assert frame["state"].tolist() == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert frame["error"].iloc[1] == "RuntimeError: no such thing"


def test_the_same_error_in_each_of_the_first_three_trials_ends_the_study():
    def objective(trial):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        tune(objective, space={"x": (0.0, 1.0)}, n_trials=9, show_progress_bar=False)


def test_a_value_that_is_not_finite_is_pruned_not_failed():
    result = tune(
        lambda trial: float("nan"), space={"x": (0.0, 1.0)}, n_trials=4, show_progress_bar=False
    )

    assert set(result.trials_dataframe()["state"]) == {"PRUNED"}
    with pytest.raises(ValueError, match="best_trial must be a complete trial"):
        result.best_trial  # noqa: B018 - the access is what raises


def test_plain_optuna_gives_the_trials_of_a_search():
    objective = MLPObjective("iris", space=SMALL | {"epochs": 2}, seed=0)
    study = optuna.create_study(
        direction=objective.metric.direction, sampler=optuna.samplers.RandomSampler(seed=0)
    )

    study.optimize(objective, n_trials=3)

    assert len(study.trials) == 3
    assert {"fusetune:curve", "fusetune:record"} <= set(study.best_trial.user_attrs)
    searched = tune_mlp(
        "iris",
        sampler="manual",
        space=SMALL,
        trials=[study.trials[0].user_attrs["fusetune:params"]],
        folds=None,  # as the objective above; the call's own default is five for a small table
        **FAST,
    )
    assert searched.best_value == pytest.approx(study.trials[0].value, rel=1e-5)


def test_a_function_has_run_as_many_epochs_as_it_reports_and_no_said_number_if_it_reports_none():
    def objective(trial):
        for step in range(3 if trial.params["x"] == 2 else 0):
            trial.report(0.5, step)
        return trial.params["x"]

    result = tune(objective, space={"x": [1, 2]}, sampler="grid", show_progress_bar=False)

    frame = result.trials_dataframe()
    assert frame["epochs_run"].isna().tolist() == [True, False]
    assert frame["epochs_run"].iloc[1] == len(result.curves_dataframe()) == 3


def test_a_result_without_a_complete_trial_says_why_the_first_one_has_no_value():
    result = tune(lambda trial: (1, 2), n_trials=2, show_progress_bar=False)

    first, second = str(result).splitlines()
    assert first == "TuningResult: study 'tune', 2 trials: 2 failed"
    assert second.startswith("  trial 0: TypeError: objective must return a number, got tuple")


@pytest.mark.parametrize(
    "given", [{"space": {"dropout": 0.5}}, {"direction": "minimize"}, {"max_steps": 5}]
)
def test_what_an_objective_brings_of_its_own_is_not_given_beside_it(given):
    objective = MLPObjective("iris", space={"epochs": 1})

    with pytest.raises(ValueError, match=f"{next(iter(given))} must be left out .*MLPObjective"):
        tune(objective, n_trials=1, **given, **QUIET)
