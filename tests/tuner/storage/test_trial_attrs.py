"""What a user's own objective records is never taken for what this package records."""

import json
import os
import random
from pathlib import Path

import optuna
import pytest

from tests.tuner.noted import Noted
from tuner import load_result, load_study, tune
from tuner.storage.artifacts import Artifacts
from tuner.storage.backends import open_storage

NAMES = (
    "model record params stopped error curve checkpoint origin call test_openings begun_with seed "
    "best_value start_from_mark"
).split()
VALUES = ["weights.pt", {"place": "a", "sha256": "0"}, 7, [{"study": "s"}], None, {"function": "f"}]
CALL = {
    "space": {"x": (0.0, 1.0)},
    "sampler": "random",
    "pruner": "none",
    "show_progress_bar": False,
}


def table(result):
    return result.trials_dataframe().drop(columns="duration_s")


@pytest.mark.parametrize("ending", ["journal", "db"])
@pytest.mark.parametrize("value", VALUES, ids=json.dumps)
def test_attributes_of_a_users_own_have_any_name_and_change_nothing(value, ending, tmp_path):
    def plain(trial):
        return trial.params["x"]

    def noting(trial):
        for name in NAMES:
            trial.set_user_attr(name, value)
        return trial.params["x"]

    def note(study, trial):
        for name in NAMES:
            study.set_user_attr(name, value)

    storage, objective = tmp_path / f"s.{ending}", noting
    objective.__name__ = "plain"
    tune(objective, n_trials=2, storage=storage, callbacks=[note], **CALL)
    result = tune(objective, n_trials=4, storage=storage, callbacks=[note], **CALL)
    begun = tune(objective, n_trials=6, start_from=result, callbacks=[note], **CALL)

    whole = tune(plain, n_trials=4, **CALL)
    assert table(result).equals(table(whole))
    assert [{k: t.user_attrs[k] for k in NAMES} for t in begun.study.trials] == 6 * [
        dict.fromkeys(NAMES, value)
    ]
    assert len(load_result(storage).trials_dataframe()) == 4
    assert table(begun)[:4].drop(columns="seed").equals(table(whole).drop(columns="seed"))


def test_a_users_file_called_model_stays_where_it_is(tmp_path):
    """Also if it is an artifact, and of a trial that is not the best."""
    storage, folder = tmp_path / "s.journal", tmp_path / "s.journal.artifacts"
    weights = tmp_path / "weights.pt"
    folder.mkdir()

    def objective(trial):
        weights.write_text("w")
        artifact_id = optuna.artifacts.upload_artifact(
            artifact_store=optuna.artifacts.FileSystemArtifactStore(folder),
            file_path=str(weights),
            study_or_trial=trial,
        )
        trial.set_user_attr("model", artifact_id)
        return float(trial.number)

    for n_trials in (2, 4):
        result = tune(objective, n_trials=n_trials, storage=storage, **CALL)

    assert len(os.listdir(folder)) == 4
    assert Artifacts(folder).model(result.best_trial, Path.read_text) is None


def test_an_earlier_version_could_not_continue_a_study_with_such_a_name_today_does(tmp_path):
    """As the earlier version left it: its own names beside the user's, without a prefix."""
    storage = tmp_path / "s.journal"
    study = tune(lambda trial: 1.0, n_trials=1, storage=storage, **CALL).study
    record = study.user_attrs["fusetune"]
    study.set_user_attr("fusetune", {k: v for k, v in record.items() if k != "prefix"})
    study.add_trial(
        optuna.trial.create_trial(
            value=0.5,
            params={"x": 0.25},
            distributions={"x": optuna.distributions.FloatDistribution(0.0, 1.0)},
            user_attrs={
                "model": "weights.pt",
                "params": {"x": 0.25},
                "record": {"stopped": "returned", "seed": 5},
            },
        )
    )

    result = tune(lambda trial: 1.0, n_trials=3, storage=storage, **CALL)
    begun = tune(lambda trial: 1.0, n_trials=4, start_from=result, **CALL)

    for row in (result.trials_dataframe().loc[1], begun.trials_dataframe().loc[1]):
        assert (row["stopped"], row["seed"], row["params_x"]) == ("returned", 5, 0.25)
    assert begun.study.trials[1].user_attrs["model"] == "weights.pt"


@pytest.mark.parametrize("ending", ["memory", "journal", "db"])
def test_of_equal_trials_the_model_kept_is_the_best_ones(ending, tmp_path):
    for seed in range(6):
        lasting = random.Random(seed).choices(range(1, 9), k=40)
        storage = None if ending == "memory" else tmp_path / f"{seed}.{ending}"
        objective = Noted(CALL["space"], epochs=lasting.__getitem__)
        result = tune(objective, n_trials=12, storage=storage, **CALL)

        assert result._model[0] == result.study.best_trial.number
        if storage is not None:
            best, folder = load_study(storage).best_trial, f"{storage}.artifacts"
            kept = Artifacts(folder).model(best, Path.read_text)
            assert (kept, len(os.listdir(folder))) == (str(best.number), 1)


def test_a_search_in_which_no_trial_keeps_within_constraints_goes_on(tmp_path):
    class Constrained(Noted):
        def train_epoch(self):
            for trial in study.get_trials(deepcopy=False):
                if trial.state is optuna.trial.TrialState.RUNNING:
                    optuna.trial.Trial(study, trial._trial_id).set_constraint("size", 1.0)
            return super().train_epoch()

    storage = tmp_path / "s.journal"
    study = optuna.create_study(study_name="s", storage=open_storage(storage), direction="maximize")
    call = CALL | {"storage": storage, "study_name": "s"}
    result = tune(Constrained(CALL["space"]), n_trials=3, **call)

    assert result.trials_dataframe()["state"].tolist() == 3 * ["COMPLETE"]
    with pytest.raises(ValueError, match="feasible"):
        result.study.best_trial  # noqa: B018 - the access is what raises
