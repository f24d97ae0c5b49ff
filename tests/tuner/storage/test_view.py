"""A view of a study: read once, so that everything derived from it agrees."""

import dataclasses
import math

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tests.tuner.reports import report_of
from tests.tuner.studies import RECORD, make_study, make_trial, peaked
from tuner.diagnosis import diagnose
from tuner.storage.chosen import Recorded, in_words
from tuner.storage.view import view_of
from tuner.tables import curves_dataframe, trials_dataframe


class GrowingStudy(optuna.Study):
    """A study in which another process completes a better trial before each reading."""

    def get_trials(self, *args, **options):
        n_trials = len(super().get_trials(deepcopy=False))
        self.add_trial(make_trial(0.96 + 0.001 * n_trials, dropout=0.01 * n_trials))
        return super().get_trials(*args, **options)


def test_a_view_stays_as_it_is_while_the_study_goes_on():
    study = make_study(*peaked(5))
    view = view_of(study)

    study.add_trial(make_trial(0.99))
    study.set_user_attr("fusetune", {"metric": "auc"})

    assert len(trials_dataframe(view)) == 5
    assert view.counts == "5 trials: 5 complete"
    assert view.metric == view.record["metric"] == "accuracy"
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.metric = "auc"


def test_a_report_of_a_running_study_agrees_with_itself(tmp_path):
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="demo", direction="maximize")
    study.set_user_attr("fusetune", RECORD)
    study.add_trials(peaked(5))
    running = GrowingStudy(study_name="demo", storage=storage)

    page = report_of(running, tmp_path)

    assert "6 complete" in page.text
    assert len([row for row in page.all("tr") if row.get("data-state")]) == 6
    assert "Best so far: trial 5 " in page.text
    assert "best (trial 5)" in page.text


def test_tables_and_diagnosis_take_a_view_as_they_take_a_study():
    study = make_study(*peaked(12))
    view = view_of(study)

    assert view_of(view) is view
    assert trials_dataframe(view).equals(trials_dataframe(study))
    assert curves_dataframe(view).equals(curves_dataframe(study))
    assert str(diagnose(view)) == str(diagnose(study))


def test_a_table_that_was_handed_out_can_be_changed_without_harm():
    view = view_of(make_study(*peaked(3)))

    table = trials_dataframe(view)
    table["value"] = 0.0

    assert (view.trials_table["value"] > 0).all()


def test_of_equal_trials_that_ended_in_another_order_the_best_is_the_one_that_optuna_says():
    study = make_study()
    first, second = study.ask(), study.ask()
    study.tell(second, 0.5)
    study.tell(first, 0.5)

    view = view_of(study)

    assert view.best_trial.number == study.best_trial.number == second.number
    assert view.ranked["number"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "direction", "best"),
    [
        ([0.2, 0.5, 0.5], "maximize", 1),
        ([0.2, 0.5, 0.2], "minimize", 0),
        ([math.inf, 0.5], "minimize", 1),
        ([], "maximize", None),
    ],
)
def test_the_best_trial_is_the_first_of_equals_as_in_optuna(values, direction, best):
    study = make_study(*map(make_trial, values), direction=direction)
    study.add_trial(create_trial(state=TrialState.PRUNED, value=0.9))

    trial = view_of(study).best_trial

    assert (None if trial is None else trial.number) == best
    assert trial is None or trial.number == study.best_trial.number


@pytest.mark.parametrize(
    ("kind", "has", "has_not"),
    [
        ("mlp", "hidden_units", "augmentation"),
        ("cnn", "augmentation", "backbone_rate"),
        ("finetune", "backbone_rate", "hidden_units"),
        ("module", "clip_norm", "hidden_units"),
    ],
)
def test_documented_hyperparameters_are_those_of_the_studys_own_objective(kind, has, has_not):
    documented = view_of(make_study(objective=kind)).documented

    assert has in documented
    assert has_not not in documented


def test_an_objective_of_ones_own_has_no_documented_hyperparameters():
    assert view_of(make_study(objective="my_function")).documented == {}


def test_words_about_the_default_configuration_are_the_same_once_it_is_calibrated():
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=0.8))
    choice = Recorded({0: 1.0}, (0.8, 0.8, -0.02, 0.02), 1)

    assert in_words(choice, "accuracy", "maximize", study.trials[0]) == (
        "model: trial 0, the default configuration, as no other is surely better: "
        "held-out accuracy 0.8"
    )
