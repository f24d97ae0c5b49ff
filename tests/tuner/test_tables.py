import math
from datetime import datetime, timedelta

import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tuner.storage.trial_attrs import count_states, has_complete, study_metric
from tuner.tables import TRIAL_COLUMNS, curves_dataframe, trials_dataframe

CURVES = "number epoch valid_accuracy valid_loss train_loss learning_rate duration_s".split()
RECORD = {"metric": "accuracy", "params": ["learning_rate", "batch_size"]}
ATTRIBUTES = {
    "params": {"learning_rate": 0.01, "batch_size": 64},
    "seed": 7,
    "worker": 0,
    "best_epoch": 1,
    "epochs_run": 3,
    "best_value": 0.9,
    "value_last": 0.8,
    "value_std": 0.01,
    "duration_s": 1.5,
    "stopped": "patience",
    "curve": {
        "value": [0.5, 0.9, 0.8],
        "valid_loss": [1.0, 0.5, None],
        "train_loss": [1.1, 0.6, 0.4],
        "learning_rate": [0.01, 0.01, 0.005],
        "duration_s": [0.5, 0.5, 0.5],
    },
}
REPORTS = {0: 0.5, 1: 0.9, 2: 0.8}
FAILED = create_trial(state=TrialState.FAIL, user_attrs={"best_value": 0.9})
ONLY_NAN = create_trial(state=TrialState.PRUNED, intermediate_values={0: math.nan})


def make_study(*trials, direction="maximize", record=RECORD):
    study = optuna.create_study(direction=direction)
    if record is not None:
        study.set_user_attr("fusetune", record)
    study.add_trials(trials)
    return study


def plain_dtypes(dtypes):
    return {name: pd.Series([], dtype=dtype).dtype for name, dtype in dtypes.items()}


def row_of(trial, direction="maximize"):
    return trials_dataframe(make_study(trial, direction=direction)).iloc[0]


def pruned(**attributes):
    return create_trial(
        state=TrialState.PRUNED, value=0.8, intermediate_values=REPORTS, user_attrs=attributes
    )


def test_trials_table_of_an_empty_study_has_every_column_in_plain_types():
    frame = trials_dataframe(make_study(record=None))

    assert dict(frame.dtypes) == plain_dtypes(TRIAL_COLUMNS)
    assert frame.empty


def test_trials_table_of_an_empty_study_has_the_recorded_hyperparameters():
    frame = trials_dataframe(make_study())

    assert list(frame) == [*TRIAL_COLUMNS, "params_learning_rate", "params_batch_size"]


def test_types_of_a_filled_table_are_those_of_an_empty_one():
    frame = trials_dataframe(make_study(create_trial(value=0.9, user_attrs=ATTRIBUTES)))

    assert dict(frame[list(TRIAL_COLUMNS)].dtypes) == plain_dtypes(TRIAL_COLUMNS)


def test_recorded_trial_is_told_with_its_best_and_last_value_apart():
    row = row_of(create_trial(value=0.9, user_attrs=ATTRIBUTES))

    assert row.drop("value_confirmed").to_dict() == {
        "number": 0,
        "state": "COMPLETE",
        "value": 0.9,
        "value_last": 0.8,
        "value_std": 0.01,
        "best_epoch": 1,
        "epochs_run": 3,
        "duration_s": 1.5,
        "seed": 7,
        "worker": 0,
        "stopped": "patience",
        "error": row["error"],
        "params_learning_rate": 0.01,
        "params_batch_size": 64,
    }
    assert row[["error", "value_confirmed"]].isna().all()


@pytest.mark.parametrize(
    ("trial", "direction", "value", "value_last"),
    [
        (pruned(best_value=0.9, value_last=0.8), "maximize", 0.9, 0.8),
        (pruned(), "maximize", 0.9, 0.8),
        (pruned(), "minimize", 0.5, 0.8),
        (pruned(best_value=0.9, stopped="diverged at epoch 2"), "maximize", None, 0.8),
        (pruned(stopped="out of memory"), "maximize", None, 0.8),
        (create_trial(value=0.7), "maximize", 0.7, 0.7),
        (create_trial(value=0.7, intermediate_values=REPORTS), "maximize", 0.7, 0.8),
        (FAILED, "maximize", None, None),
        (create_trial(state=TrialState.RUNNING, intermediate_values=REPORTS), "maximize", 0.9, 0.8),
        (ONLY_NAN, "maximize", None, None),
    ],
    ids=[
        "pruned",
        "pruned-foreign",
        "pruned-foreign-minimize",
        "diverged",
        "out-of-memory",
        "complete-foreign",
        "complete-foreign-with-reports",
        "failed",
        "running",
        "only-nan",
    ],
)
def test_value_is_the_best_epochs_and_empty_where_a_trial_has_none(
    trial, direction, value, value_last
):
    row = row_of(trial, direction)

    assert row["value"] == pytest.approx(math.nan if value is None else value, nan_ok=True)
    last = math.nan if value_last is None else value_last
    assert row["value_last"] == pytest.approx(last, nan_ok=True)


def test_waiting_trials_are_left_out_and_failed_ones_tell_their_error():
    study = make_study(create_trial(state=TrialState.FAIL, user_attrs={"error": "OSError: disk"}))
    study.enqueue_trial({"x": 1.0})

    frame = trials_dataframe(study)

    assert frame[["number", "state", "error"]].values.tolist() == [[0, "FAIL", "OSError: disk"]]


def test_study_of_plain_optuna_gives_the_same_columns():
    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.report(x + 1, step=0)
        trial.report(x, step=1)
        if trial.number == 1:
            raise optuna.TrialPruned
        return x

    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    frame = trials_dataframe(study)

    assert list(frame) == [*TRIAL_COLUMNS, "params_x"]
    assert frame["stopped"].fillna("").tolist() == ["", "pruned"]
    assert frame["value"].tolist() == frame["params_x"].tolist()
    assert (frame["duration_s"] > 0).all()
    assert curves_dataframe(study)["epoch"].tolist() == [0, 1, 0, 1]


def test_foreign_attributes_of_the_same_name_are_not_taken_for_ours():
    attributes = {"seed": "abc", "params": [1], "curve": 3, "epochs_run": 2.5, "stopped": 1}
    study = make_study(create_trial(value=1.0, user_attrs=attributes), record=None)

    row = trials_dataframe(study).iloc[0]

    assert row[["seed", "epochs_run", "stopped"]].isna().all()
    assert curves_dataframe(study).empty


def test_trials_without_records_show_the_parameters_that_optuna_holds():
    trial = create_trial(
        value=1.0,
        params={"x": 0.5, "n": 3},
        distributions={"x": FloatDistribution(0, 1), "n": IntDistribution(1, 4)},
    )

    frame = trials_dataframe(make_study(trial, record=None))

    assert frame[["params_x", "params_n"]].iloc[0].tolist() == [0.5, 3]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([64, 128], "Int64", [64, 128]),
        ([64, None], "Int64", [64, None]),
        ([0.5, 1], "float64", [0.5, 1.0]),
        ([64, "full"], "str", ["64", "full"]),
        ([True, None], "boolean", [True, None]),
        ([[64, 64], [32]], "str", ["[64, 64]", "[32]"]),
        ([2**70, 1], "str", [str(2**70), "1"]),
    ],
    ids=["whole", "missing", "real", "mixed", "truth", "lists", "huge"],
)
def test_hyperparameter_columns_have_the_plainest_type_that_holds_them(values, dtype, expected):
    trials = [
        create_trial(value=0.0, user_attrs={"params": {} if v is None else {"p": v}})
        for v in values
    ]

    column = trials_dataframe(make_study(*trials, record=None))["params_p"]

    assert column.dtype == pd.Series([], dtype=dtype).dtype
    assert [None if pd.isna(cell) else cell for cell in column] == expected


def test_duration_of_a_foreign_trial_is_in_seconds():
    start = datetime(2024, 1, 1)
    trial = optuna.trial.FrozenTrial(
        number=0,
        trial_id=0,
        state=TrialState.COMPLETE,
        value=1.0,
        params={},
        distributions={},
        datetime_start=start,
        datetime_complete=start + timedelta(milliseconds=1500),
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )

    assert row_of(trial)["duration_s"] == 1.5


def test_curves_table_has_one_row_a_trial_and_epoch():
    complete = create_trial(value=0.9, user_attrs=ATTRIBUTES)
    study = make_study(complete, pruned(stopped="pruned"), direction="maximize")

    frame = curves_dataframe(study)

    assert list(frame) == CURVES
    assert frame["number"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["epoch"].tolist() == [0, 1, 2, 0, 1, 2]
    assert frame["valid_accuracy"].tolist() == [0.5, 0.9, 0.8] * 2
    assert math.isnan(frame["valid_loss"][2])
    assert frame["learning_rate"][:3].tolist() == [0.01, 0.01, 0.005]


def test_curves_table_of_an_empty_study_has_every_column_in_plain_types():
    frame = curves_dataframe(make_study())

    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: "int64" if name in ("number", "epoch") else "float64" for name in CURVES
    }


def test_empty_curve_is_read_from_the_reports():
    frame = curves_dataframe(make_study(pruned(curve={"value": [], "valid_loss": []})))

    assert frame["valid_accuracy"].tolist() == list(REPORTS.values())


def test_metric_called_loss_keeps_its_column_apart_from_the_loss():
    frame = curves_dataframe(make_study(pruned(), record={"metric": "loss", "params": []}))

    assert list(frame)[2:4] == ["valid_value", "valid_loss"]


def test_metric_is_the_recorded_one_or_the_studys_own_name_or_value():
    named = make_study(record=None)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        named.set_metric_names(["auc"])

    assert study_metric(make_study()) == ("accuracy", "maximize")
    assert study_metric(named) == ("auc", "maximize")
    assert study_metric(make_study(record={"metric": None}, direction="minimize")) == (
        "value",
        "minimize",
    )


@pytest.mark.parametrize("table", [trials_dataframe, curves_dataframe])
def test_study_of_several_objectives_is_refused(table):
    study = optuna.create_study(directions=["minimize", "maximize"])

    with pytest.raises(ValueError, match="study must have one direction, got 2 directions"):
        table(study)


def test_states_are_counted_in_words():
    study = make_study(create_trial(value=1.0), pruned(), pruned())

    assert count_states(study) == "3 trials: 1 complete, 2 pruned"
    assert has_complete(study)
    assert not has_complete(make_study(pruned()))


# --- export ---


@pytest.mark.parametrize(
    ("attribute", "column", "shown"),
    [
        ({"seed": 2**64 - 1}, "seed", None),  # as torch.seed gives it
        ({"stopped": "no file a\udcff.png"}, "stopped", r"no file a\udcff.png"),
        ({"curve": {"value": [[1, 2]]}}, "state", "COMPLETE"),
        ({"curve": {"value": ["a"]}}, "state", "COMPLETE"),
    ],
)
def test_what_a_foreign_trial_keeps_under_a_name_of_ours_breaks_no_table(attribute, column, shown):
    reports = {0: 0.5, 1: 1.0}
    trial = create_trial(value=1.0, user_attrs=attribute, intermediate_values=reports)
    study = make_study(trial, record=None)

    cell = trials_dataframe(study)[column][0]

    assert pd.isna(cell) if shown is None else cell == shown
    assert curves_dataframe(study)["valid_value"].tolist() == [0.5, 1.0]
