"""The neighbours of Optuna: its callbacks, its dashboard, and Optuna itself going on."""

import optuna
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from objectives import MLPObjective
from tuner import diagnose, load_study, tune, tune_mlp
from tuner.plots.figures import draw
from tuner.tables import TRIAL_COLUMNS, curves_dataframe, trials_dataframe

SPACE = {"n_layers": 1, "hidden_units": (8, 16), "batch_size": 32, "epochs": 3}
CALL = {"space": SPACE, "show_progress_bar": False}


def square(trial):
    return trial.suggest_float("x", -1, 1) ** 2


def numbers_and_states(study):
    return [(trial.number, trial.state.name) for trial in study.trials]


def test_a_callback_of_optuna_ends_the_search():
    only = MaxTrialsCallback(4, states=(TrialState.COMPLETE,))

    assert len(tune(square, n_trials=9, callbacks=[only]).study.trials) == 4


def test_a_callback_of_optuna_that_writes_to_the_study_finds_what_it_wrote():
    def note(study, trial):
        study.set_user_attr("seen", [*study.user_attrs.get("seen", []), trial.number])

    assert tune(square, n_trials=3, callbacks=[note]).study.user_attrs["seen"] == [0, 1, 2]


def test_a_study_goes_on_under_plain_optuna_and_is_read_back(tmp_path):
    path = tmp_path / "s.journal"
    result = tune_mlp("iris", n_trials=3, storage=path, **CALL)
    columns = list(result.trials_dataframe())

    result.study.optimize(MLPObjective("iris", space=SPACE), n_trials=2)
    asked = result.study.ask()
    asked.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    asked.report(0.4, 0)
    result.study.tell(asked, 0.5)

    study = load_study(path)
    frame, curves = trials_dataframe(study), curves_dataframe(study)
    assert list(frame) == columns
    assert frame["number"].tolist() == list(range(6))
    assert frame["value"].notna().all()
    assert frame["params_batch_size"].tolist()[:5] == [32] * 5
    assert frame["best_epoch"].notna().tolist() == [True] * 5 + [False]
    assert curves[curves["number"] == 5][["epoch", "valid_accuracy"]].values.tolist() == [[0, 0.4]]
    assert len(diagnose(study).findings)
    for kind in ("overview", "curves", "hyperparameters", "timeline"):
        draw(study, kind)


def test_a_search_after_plain_optuna_counts_its_trials_and_ends_with_the_total(tmp_path):
    path = tmp_path / "s.journal"
    first = tune_mlp("iris", n_trials=3, storage=path, **CALL)
    first.study.optimize(MLPObjective("iris", space=SPACE), n_trials=2)
    first.study.tell(first.study.ask(), state=TrialState.FAIL)
    first.study.add_trial(optuna.trial.create_trial(value=0.1))

    result = tune_mlp("iris", n_trials=9, storage=path, **CALL)

    frame = result.trials_dataframe()
    assert list(frame)[: len(TRIAL_COLUMNS)] == list(TRIAL_COLUMNS)
    assert frame["number"].tolist() == list(range(9))
    assert frame["state"].tolist()[5:7] == ["FAIL", "COMPLETE"]
    assert not (set(frame["state"].iloc[7:]) & {"FAIL", "RUNNING"})
    assert result.model.predict(result.objective.data.open_test().X).shape == (30,)


def test_a_trial_that_plain_optuna_asked_for_and_left_is_run_by_the_next_search(tmp_path):
    path = tmp_path / "s.journal"
    tune_mlp("iris", n_trials=2, storage=path, **CALL).study.ask()

    study = tune_mlp("iris", n_trials=4, storage=path, **CALL).study

    assert [number for number, _ in numbers_and_states(study)] == [0, 1, 2, 3]
    assert "RUNNING" not in dict(numbers_and_states(study)).values()


def test_a_trial_that_optuna_queued_is_run_by_the_next_search(tmp_path):
    path = tmp_path / "s.journal"
    study = tune_mlp("iris", n_trials=2, storage=path, **CALL).study
    study.enqueue_trial({"learning_rate": 0.05})

    frame = tune_mlp("iris", n_trials=3, storage=path, **CALL).trials_dataframe()

    assert frame["params_learning_rate"].tolist()[2] == 0.05
