"""A search ends with its best trials trained again on folds, whose mean decides."""

import numpy as np
import pandas as pd
import pytest

from objectives import MLPObjective
from tuner import load_result, tune, tune_mlp
from tuner.storage.trial_attrs import confirmed_values

NOISE = np.random.default_rng(0)
X = NOISE.normal(size=(90, 3))
DATA = X, X[:, 0] + np.sin(3 * X[:, 1]) + NOISE.normal(size=90)
SPACE = {"hidden_units": 8, "n_layers": 1, "batch_size": 32, "epochs": 4}
CALL = {"space": SPACE, "folds": None, "n_trials": 6, "show_progress_bar": False}
CONFIRMING = CALL | {"confirm": 2}


def test_the_best_trial_is_the_one_with_the_best_confirmed_value():
    result = tune_mlp(DATA, **CONFIRMING)

    table = result.trials_dataframe().set_index("number")
    confirmed = table["value_confirmed"].dropna()
    two_best = table.loc[table["state"] == "COMPLETE", "value"].nsmallest(2)
    assert set(confirmed.index) == {0, *two_best.index}  # 0 is the default configuration
    assert result.best_trial.number == confirmed.idxmin()
    assert result.confirmed_value == confirmed.min()
    assert result.best_value == table.loc[result.best_trial.number, "value"]
    assert result.study.best_trial.number == table["value"].idxmin()
    assert "when trained again on folds" in repr(result)


def test_what_predicts_are_networks_of_five_folds_compared_on_rows_that_each_has_not_seen():
    result = tune_mlp(DATA, ensemble=False, **CONFIRMING)
    objective = result.objective

    assert len(result.model.network.flat) == 5
    assert result.model.params == result.best_params
    assert len(result.best_model.network.flat) == 1
    assert objective.folds is None
    n_rows = len(objective.data.train) + len(objective.data.valid)
    assert len(objective.on_folds(seed=1).held_out_rows.y) == n_rows
    assert f"held-out {objective.metric.name}" in result.comparison()
    points = result.plot("predictions").axes[0].collections[0].get_offsets()
    assert len(points) == n_rows


def test_a_search_that_ended_before_its_best_trials_were_confirmed_goes_on_to_the_same(tmp_path):
    whole = tune_mlp(DATA, storage=tmp_path / "whole.journal", **CONFIRMING)
    call = {"storage": tmp_path / "cut.journal", **CONFIRMING}
    assert tune_mlp(DATA, **call | {"confirm": False}).confirmed_value is None

    continued = tune_mlp(DATA, **call)

    same = ["number", "value", "value_confirmed"]
    pd.testing.assert_frame_equal(
        continued.trials_dataframe()[same], whole.trials_dataframe()[same]
    )
    assert (continued.model.predict(X) == whole.model.predict(X)).all()
    again, loaded = tune_mlp(DATA, **call), load_result(call["storage"])
    for result in (again, loaded):
        assert result.best_trial.number == whole.best_trial.number
        assert (result.model.predict(X) == whole.model.predict(X)).all()


class Interrupted(MLPObjective):
    """Ctrl-C is pressed when the second of the best trials has been trained again."""

    def on_folds(self, *, seed):
        again, ended = super().on_folds(seed=seed), []

        def held_out(model):
            ended.append(model)
            if len(ended) == 2:
                raise KeyboardInterrupt
            return MLPObjective.held_out(again, model)

        again.held_out = held_out
        return again


def test_ctrl_c_amid_it_leaves_the_values_of_the_search_to_decide(tmp_path, capsys):
    options, kept = {"n_trials": 6, "show_progress_bar": False}, {"space": SPACE, "confirm": 2}
    storage = tmp_path / "s.journal"

    cut = tune(Interrupted(DATA, **kept), storage=storage, **options)

    assert "the best trials are not confirmed" in capsys.readouterr().err
    assert cut.best_trial.number == cut.study.best_trial.number
    assert cut.trials_dataframe()["value_confirmed"].isna().all()
    continued = tune(MLPObjective(DATA, **kept), storage=storage, **options)
    whole = tune(MLPObjective(DATA, **kept), **options)
    assert confirmed_values(continued.study.user_attrs) == confirmed_values(whole.study.user_attrs)


def test_further_trials_are_confirmed_beside_those_that_were():
    result = tune_mlp(DATA, **CONFIRMING)
    before = confirmed_values(result.study.user_attrs)

    result.try_params(learning_rate=0.05)

    after = confirmed_values(result.study.user_attrs)
    assert {number: after[number] for number in before} == before
    assert result.best_trial.number == min(after, key=lambda number: after[number].mean)


def test_a_few_of_many_trials_are_confirmed_where_one_split_judged_a_small_table():
    objective = MLPObjective(DATA, confirm="auto")

    assert [objective.n_finalists(n) for n in (1, 9, 10, 29, 30, 1000)] == [0, 0, 1, 2, 2, 2]
    assert MLPObjective(DATA, confirm=4).n_finalists(1) == 4
    rows = np.arange(90)
    many = NOISE.normal(size=(7600, 2)), NOISE.normal(size=7600)
    for data, options in ((DATA, {"folds": 3}), (DATA, {"time": rows}), (many, {})):
        assert MLPObjective(data, confirm="auto", **options).n_finalists(30) == 0
    assert tune_mlp(DATA, **CALL).confirmed_value is None


@pytest.mark.parametrize("confirm", [True, 25, -1, "yes", 1.5])
def test_what_is_no_number_of_trials_is_refused(confirm):
    with pytest.raises(ValueError, match="confirm must be 'auto', False or a whole number of 1 to"):
        MLPObjective(DATA, confirm=confirm)
