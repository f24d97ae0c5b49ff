"""Fresh seeds for the best configurations: which are run, what the table says, and when it ends."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from objectives.metrics import METRICS
from objectives.objective import EpochResult
from objectives.space.space import make_space
from objectives.space.tables import MLP_TABLE
from tests.tuner.studies import make_study, make_trial
from tuner import tune, tune_mlp
from tuner.diagnosis.confirm import confirm

SPACE = make_space(MLP_TABLE, {"epochs": 40, "batch_size": 64, "hidden_units": 8})
DEFAULT = {name: row.default for name, row in SPACE.items()}


class CountingCohort:
    """Trials last for two epochs; their values are their numbers, modulo what a test asks for."""

    def __init__(self, value, stop_after=None):
        self.value, self.left, self.members, self.most = value, stop_after, {}, 0

    def has_room(self, params):
        return len(self.members) < 4

    def add(self, number, params):
        self.members[number] = 0
        self.most = max(self.most, len(self.members))

    def drop(self, number):
        del self.members[number]

    def train_epoch(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        for number in self.members:
            self.members[number] += 1
        return {number: self.result(number, epoch) for number, epoch in self.members.items()}

    def result(self, number, epoch):
        value = self.value(number) - 0.1 * (epoch - 1)
        stopped = None if epoch < 2 else "patience" if math.isfinite(value) else "diverged at 1"
        return EpochResult(
            epoch=epoch - 1,
            value=value,
            valid_loss=0.0,
            train_loss=0.0,
            learning_rate=0.0,
            duration_s=0.0,
            stopped=stopped,
        )


OWN = SimpleNamespace(name="accuracy", direction="maximize")  # called as one of ours


def objective_of(cohort, metric=OWN):
    return SimpleNamespace(space=SPACE, metric=metric, cohort=lambda *, seed: cohort)


def trials(*values):
    return [make_trial(value, dropout=0.1 * i) for i, value in enumerate(values)]


def test_best_distinct_configurations_and_the_default_one_are_run():
    study = make_study(*trials(0.6, 0.9), *trials(0.6, 0.91), make_trial(0.7, dropout=0.4))
    cohort = CountingCohort(lambda number: 0.5)

    table = confirm(study, objective_of(cohort), k=2, seeds=3)

    assert sorted(table["number"].dropna()) == [3, 4]
    assert table["is_default"].sum() == 1
    assert table.loc[table["is_default"], "number"].isna().all()
    assert table["n"].tolist() == [3, 3, 3]
    assert cohort.most == 4
    assert not cohort.members


@pytest.mark.parametrize(
    ("metric", "low", "high"),
    [
        (METRICS["accuracy"], 0.0, 1.0),
        (METRICS["f1_macro"], 0.0, 1.0),
        (METRICS["r2"], -0.74, 1.0),
        (OWN, -0.74, 1.74),
    ],
)
def test_an_interval_ends_where_the_metric_does(metric, low, high):
    cohort = CountingCohort(lambda number: 0.4 + 0.2 * (number % 2))

    table = confirm(make_study(make_trial(0.9)), objective_of(cohort, metric), k=1, seeds=2)

    # t of one degree of freedom, 12.7, times 0.1, on both sides of 0.5
    assert table["low"].tolist() == pytest.approx([low] * len(table), abs=0.05)
    assert table["high"].tolist() == pytest.approx([high] * len(table), abs=0.05)


def test_default_that_is_among_the_best_is_run_once():
    trial = make_trial(0.9)
    trial.user_attrs["params"] = DEFAULT

    table = confirm(make_study(trial), objective_of(CountingCohort(lambda number: 0.5)))

    assert table[["number", "is_default"]].values.tolist() == [[0, True]]


def test_table_ranks_by_the_mean_with_a_t_interval():
    values = {1000: 0.7, 1001: 0.8, 1002: 0.9, 2000: 0.9, 2001: 0.9, 2002: 0.9}
    cohort = CountingCohort(lambda number: values.get(number, 0.1))

    table = confirm(make_study(*trials(0.95, 0.9)), objective_of(cohort), k=2, seeds=3)

    assert table["rank"].tolist() == [1, 2, 3]
    assert table["number"].tolist()[:2] == [1, 0]
    second = table.iloc[1]
    assert second["mean"] == pytest.approx(0.8)
    assert second["std"] == pytest.approx(0.1)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (second["low"], second["high"]) == pytest.approx((0.8 - half, 0.8 + half))


def test_run_that_diverged_is_left_out_of_the_mean():
    cohort = CountingCohort(lambda number: math.nan if number == 1000 else 0.5)

    table = confirm(make_study(*trials(0.9)), objective_of(cohort), seeds=2)

    assert table.set_index("is_default")["n"].to_dict() == {True: 2, False: 1}


def test_interrupt_gives_the_rows_that_are_finished(capsys):
    study = make_study(*trials(0.9, 0.8, 0.7, 0.6))

    table = confirm(study, objective_of(CountingCohort(lambda n: 0.5, stop_after=2)), k=4, seeds=2)

    assert table["n"].tolist() == [2, 2]
    assert "interrupted: 4 of 10 runs are finished" in capsys.readouterr().err


def test_of_equal_trials_the_first_is_trained_again_whichever_a_database_calls_the_best(
    monkeypatch,
):
    study = make_study(*trials(0.8, 0.9, 0.9))
    monkeypatch.setattr(type(study), "best_trial", property(lambda study: study.trials[2]))

    table = confirm(study, objective_of(CountingCohort(lambda number: 0.5)), k=1, seeds=1)

    assert table["number"].dropna().tolist() == [1]


def test_runs_are_counted_on_the_way():
    values = {1000: 0.5, 1001: 0.7, 2000: math.nan, 2001: 0.4}
    cohort, told = CountingCohort(lambda number: values.get(number, 0.1)), []

    confirm(
        make_study(*trials(0.9, 0.8)),
        objective_of(cohort),
        k=2,
        seeds=2,
        show=lambda *progress: told.append(progress),
    )

    assert told[0] == (0, 6, None)
    assert [n_ended for n_ended, *_ in told] == list(range(7))
    assert told[-1] == (6, 6, pytest.approx(0.6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"k": 0}, "k must be"), ({"seeds": 0}, "seeds must be"), ({"seeds": 1001}, "at most 1000")],
)
def test_counts_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        confirm(make_study(*trials(0.9)), objective_of(None), **arguments)


def test_study_without_a_complete_trial_has_nothing_to_confirm():
    with pytest.raises(ValueError, match="must have a complete trial to confirm"):
        confirm(make_study(), objective_of(None))


def test_same_seed_gives_the_same_table_and_more_runs_leave_it_as_it_was(capsys):
    space = {"hidden_units": 8, "n_layers": 1, "batch_size": 32}
    result = tune_mlp("iris", n_trials=4, epochs=3, space=space, show_progress_bar=False)
    before = len(result.study.trials), dict(result.study.user_attrs)

    first = result.confirm(k=2, seeds=2)
    assert "6/6 runs from fresh seeds" in capsys.readouterr().err
    again = result.confirm(k=2, seeds=2, show_progress_bar=False)
    assert capsys.readouterr().err == ""
    more = result.confirm(k=3, seeds=2)
    other = result.confirm(k=2, seeds=2, seed=1)

    pd.testing.assert_frame_equal(first, again)
    means = more.set_index(["number", "is_default"])["mean"]
    same = first.set_index(["number", "is_default"])["mean"]
    pd.testing.assert_series_equal(same.sort_index(), means.reindex(same.sort_index().index))
    assert not first["mean"].equals(other["mean"])
    assert (len(result.study.trials), dict(result.study.user_attrs)) == before


def test_diagnosis_of_a_result_leaves_the_test_split_sealed():
    result = tune_mlp("iris", n_trials=3, epochs=2, show_progress_bar=False)

    diagnosis = result.diagnose()

    assert "too_few_trials" in diagnosis.findings["code"].tolist()
    assert "fusetune:test_openings" not in result.study.user_attrs
    tune_mlp("iris", n_trials=2, space=diagnosis.space, show_progress_bar=False)


def test_functions_result_can_be_diagnosed_but_not_confirmed():
    result = tune(
        lambda trial: trial.params["x"],
        space={"x": (0.0, 1.0)},
        n_trials=6,
        show_progress_bar=False,
    )

    assert result.diagnose().space.keys() == {"x"}
    with pytest.raises(TypeError, match="confirm must come from a ready-made objective"):
        result.confirm()
