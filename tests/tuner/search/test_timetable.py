"""Several processes under TPE: what a trial sees follows from a rule, not from who was faster."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import psutil
import pytest
from optuna.trial import TrialState, create_trial

from objectives.mlp import MLPObjective
from tuner import load_study, tune, tune_mlp
from tuner.search.optimize import jobs_that_pay
from tuner.search.plan import Plan
from tuner.search.trial_queue import Timetable
from tuner.tables import curves_dataframe, trials_dataframe

SPACE = {"n_layers": 1, "hidden_units": (8, 64), "batch_size": [32, 64], "epochs": 12}
CALL = {"n_jobs": 2, "n_trials": 20, "show_progress_bar": False}


class Delayed:
    """A cohort whose epochs take a random while longer."""

    def __init__(self, cohort, longest_s):
        self._cohort, self._longest_s = cohort, longest_s

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._cohort, name)

    def train_epoch(self):
        time.sleep(random.SystemRandom().uniform(0, self._longest_s))
        return self._cohort.train_epoch()


class DelayedObjective(MLPObjective):
    longest_s = 0.02

    def cohort(self, *, seed):
        return Delayed(super().cohort(seed=seed), self.longest_s)


def search(storage, **options):
    """Search with delays that differ from run to run."""
    objective = DelayedObjective("iris", space=SPACE, folds=3, seed=0)
    return tune(objective, storage=storage, **CALL, **options)


def tables(storage):
    """Return the tables of trials and curves, without what is measured by a clock."""
    study = load_study(storage)
    return [make(study).drop(columns="duration_s") for make in (trials_dataframe, curves_dataframe)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken") / "s.journal"
    search(path)
    return tables(path)


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_two_processes_give_the_same_table_number_for_number_whatever_the_timing(
    unbroken, tmp_path
):
    search(tmp_path / "s.journal")

    assert set(unbroken[0]["state"]) == {"COMPLETE", "PRUNED"}
    assert_equal(tables(tmp_path / "s.journal"), unbroken)


def test_an_interrupted_search_in_two_processes_ends_as_one_that_was_not(unbroken, tmp_path):
    ended = []

    def interrupt(study, trial):
        ended.append(trial.number)
        if len(ended) in (4, 11):
            raise KeyboardInterrupt

    for _ in range(3):
        search(tmp_path / "s.journal", callbacks=[interrupt])

    assert len(ended) == CALL["n_trials"]
    assert_equal(tables(tmp_path / "s.journal"), unbroken)


KILLED = """
import sys
from tests.tuner.search.test_timetable import search
search(sys.argv[1], callbacks=[lambda study, trial: print("finished", flush=True)])
"""


@pytest.mark.slow
def test_a_search_in_two_processes_that_is_killed_ends_as_one_that_was_not(unbroken, tmp_path):
    path = str(tmp_path / "s.journal")
    for n_finished in (1, 4, 3, 5):
        run = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
        for _ in range(n_finished):
            run.stdout.readline()
        run.send_signal(signal.SIGKILL)
        run.communicate()
    search(path)

    assert_equal(tables(path), unbroken)


def trial(number, *, epochs_run=None):
    """Return a trial that has ended after so many epochs, or one under way."""
    if epochs_run is None:
        made = create_trial(state=TrialState.RUNNING)
    else:
        made = create_trial(value=0.5, user_attrs={"fusetune:record": {"epochs_run": epochs_run}})
    made.number = number
    return made


def seen(table, number, trials):
    """Return the states in which a trial sees others."""
    shown = [table.view(number)(t) for t in trials]
    return [t.state.name for t in shown if t is not None and t.number != number]


def test_a_trial_waits_until_it_is_certain_which_trials_it_sees():
    table = Timetable(n_machines=2, cost=lambda params: params["cost"])
    trials = []
    for number, cost in ((0, 1.0), (1, 5.0)):
        assert table.is_certain(number, trials)
        trials.append(trial(number))
        table.note(number, 0, {"cost": cost})
    table.note(0, 4)

    # By the timetable 0 has trained until 4 and 1 until 0; which one ends first is not certain.
    assert not table.is_certain(2, trials)
    table.note(0, None)
    trials[0] = trial(0, epochs_run=4)
    assert table.is_certain(2, trials)
    assert seen(table, 2, trials) == ["COMPLETE", "RUNNING"]


def test_a_trial_does_not_see_one_that_ended_early_by_chance():
    table = Timetable(n_machines=2, cost=lambda params: params["cost"])
    for number, cost in ((0, 1.0), (1, 5.0)):
        table.is_certain(number, [trial(0), trial(1)])
        table.note(number, 0, {"cost": cost})
    for number in (0, 1):  # a fast processor has ended 1, although 0 comes first by the timetable
        table.note(number, None)
    trials = [trial(0, epochs_run=4), trial(1, epochs_run=1)]

    assert table.is_certain(2, trials)
    assert seen(table, 2, trials) == ["COMPLETE", "RUNNING"]


def test_trials_of_another_process_and_of_another_study_hold_nothing_up():
    table = Timetable(n_machines=2, cost=lambda params: 1.0)
    brought = create_trial(value=0.1)
    brought.number = 1

    assert table.is_certain(2, [trial(0), brought])
    assert seen(table, 2, [trial(0), brought]) == ["RUNNING", "COMPLETE"]


def long_search(**changes):
    objective = MLPObjective("digits", seed=0, device="cpu")
    plan = Plan(
        space=objective.space,
        direction="maximize",
        sampler="tpe",
        pruner="median",
        n_trials=200,
        stop_after=None,
        timeout=None,
        firsts=[],
        trials=None,
        seed=0,
        max_steps=100,
        n_jobs=1,
        record={},
    )
    return jobs_that_pay(replace(plan, **changes), objective, 200)


def test_a_long_search_by_tpe_uses_the_physical_cores_by_default():
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 64

    assert long_search() == min(psutil.cpu_count(logical=False) or 1, allowed)


@pytest.mark.parametrize("changes", [{"timeout": 5.0}, {"max_steps": 3}, {"sampler": "random"}])
def test_a_short_search_and_one_of_known_trials_uses_one_process_by_default(changes):
    assert long_search(**changes) == 1


def test_the_study_records_in_how_many_processes_it_trained(tmp_path):
    call = {"space": SPACE, "epochs": 2, "n_trials": 1, "show_progress_bar": False}

    study = tune_mlp("iris", storage=tmp_path / "s.journal", **call).study

    assert study.user_attrs["fusetune"]["n_jobs"] == 1
