"""Samplers and pruners by name."""

import sys

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler

from tuner import tune
from tuner.search.samplers import (
    KnownSpaceSampler,
    choose_sampler,
    make_pruner,
    report_interval,
    sampler_source,
)

SPACE = {"b": FloatDistribution(0, 1), "a": IntDistribution(1, 9)}


def draw(make_sampler, n_trials=25):
    study = optuna.create_study()
    for number in range(n_trials):
        study.sampler = make_sampler(number)
        trial = study.ask(SPACE)
        study.tell(trial, (trial.params["b"] - 0.3) ** 2 + trial.params["a"])
    return [trial.params for trial in study.trials]


def test_tpe_with_a_known_space_draws_what_optunas_own_draws():
    known = draw(lambda number: KnownSpaceSampler(SPACE, seed=number))
    inferred = draw(lambda number: TPESampler(seed=number, multivariate=True))

    assert known == inferred


def test_a_configuration_drawn_before_its_trial_is_the_one_drawn_by_it():
    study = optuna.create_study()
    for number in range(15):
        early = KnownSpaceSampler(SPACE, seed=number, alone=True).draw(study)
        study.sampler = KnownSpaceSampler(SPACE, seed=number)
        trial = study.ask(SPACE)
        assert early == trial.params
        study.tell(trial, (trial.params["b"] - 0.3) ** 2 + trial.params["a"])


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "cmaes"])
def test_each_trial_and_worker_draws_from_a_seed_of_its_own(name):
    def first_draws(seed, **of_process):
        source = sampler_source(name, distributions=SPACE, seed=seed)
        return draw(lambda n_existing: source(n_existing, **of_process), n_trials=6)

    assert first_draws(seed=0) == first_draws(seed=0)
    assert first_draws(seed=0) != first_draws(seed=1)
    assert first_draws(seed=0) != first_draws(seed=0, worker=1)
    assert len({str(params) for params in first_draws(seed=0)}) == 6


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", optuna.pruners.NopPruner),
        ("median", optuna.pruners.MedianPruner),
        ("asha", optuna.pruners.SuccessiveHalvingPruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
    ],
)
@pytest.mark.parametrize("epochs", [1, 3, 100])
def test_pruners_are_made_for_any_number_of_epochs(name, kind, epochs):
    assert isinstance(make_pruner(name, epochs=epochs), kind)


@pytest.mark.parametrize(
    ("pruner", "epochs", "interval"),
    [("median", 100, 5), ("median", 10, 1), (optuna.pruners.NopPruner(), 100, 1)],
)
def test_an_optuna_pruner_gets_every_report_and_ours_twenty_a_trial(pruner, epochs, interval):
    assert report_interval(pruner, epochs=epochs) == interval


def test_what_is_no_pruner_or_sampler_is_refused():
    with pytest.raises(TypeError, match="pruner must be a name or an optuna pruner, got int"):
        make_pruner(3, epochs=1)
    with pytest.raises(TypeError, match="sampler must be a name or an optuna sampler, got int"):
        sampler_source(3, seed=0)


@pytest.mark.parametrize(
    ("name", "distributions"),
    [("tpe", SPACE), ("tpe", None), ("random", None)],
    ids=["tpe, known space", "tpe, unknown space", "random, unknown space"],
)
@pytest.mark.parametrize("n_before", [0, 12], ids=["first", "later"])
def test_a_trial_cut_off_amid_its_draws_draws_the_rest_as_it_would_have(
    name, distributions, n_before
):
    source = sampler_source(name, seed=3, distributions=distributions)

    def study_with_history():
        study = optuna.create_study()
        for number in range(n_before):
            study.sampler = source(number)
            study.tell(study.ask(SPACE), 1.0 / (1 + number))
        study.sampler = source(n_before)
        return study, study.ask()

    _, whole = study_with_history()
    expected = [whole.suggest_float("b", 0, 1), whole.suggest_int("a", 1, 9)]
    study, cut_off = study_with_history()
    before = cut_off.suggest_float("b", 0, 1)
    study.sampler = source(n_before)
    again = optuna.Trial(study, cut_off._trial_id)

    assert [before, again.suggest_int("a", 1, 9)] == expected
    assert again.suggest_float("b", 0, 1) == before


MIXED = {"x": (-1.0, 1.0), "y": (-1.0, 1.0), "kind": ["a", "b"]}


def bowl(trial):
    x, y, kind = (trial.params[name] for name in ("x", "y", "kind"))
    return (x - 0.3) ** 2 + y**2 + (kind == "a")


@pytest.mark.parametrize("name", ["gp", "cmaes", "qmc"])
def test_a_search_cut_off_between_trials_goes_on_as_one_that_was_not(name, tmp_path):
    call = {"space": MIXED, "sampler": name, "show_progress_bar": False}

    whole = tune(bowl, n_trials=14, **call)
    for n_trials in (3, 12, 14):
        parts = tune(bowl, n_trials=n_trials, storage=tmp_path / "s.journal", **call)

    found = [[trial.params for trial in result.study.trials] for result in (whole, parts)]
    assert found[0] == found[1]
    assert len({str(params) for params in found[0]}) == 14


def test_a_gaussian_process_learns_more_from_few_trials_than_chance():
    best = {
        name: tune(bowl, space=MIXED, sampler=name, n_trials=25, show_progress_bar=False).best_value
        for name in ("gp", "random")
    }

    assert best["gp"] < best["random"] / 10


def test_sobol_points_fill_the_space_and_each_study_has_its_own():
    draws = [draw(sampler_source("qmc", seed=s, distributions=SPACE), 16) for s in (0, 0, 1)]

    assert draws[0] == draws[1] != draws[2]
    sixteenths = sorted(int(params["b"] * 16) for params in draws[0])
    assert sixteenths == list(range(16))


def test_auto_is_a_gaussian_process_for_few_trials_of_numbers_alone():
    mixed = SPACE | {"kind": CategoricalDistribution(["a", "b"])}

    assert choose_sampler("auto", SPACE, None) == "gp"
    assert choose_sampler("auto", SPACE, 300) == "tpe"
    assert choose_sampler("auto", mixed, 30) == "tpe"
    assert choose_sampler("auto", {}, 30) == "tpe"
    assert choose_sampler("random", SPACE, 30) == "random"
    named = tune(lambda t: t.params["x"] ** 2, space={"x": (0.0, 1.0)}, sampler="auto", n_trials=2)
    assert named.study.user_attrs["fusetune"]["sampler"] == "gp"


def test_cma_es_without_its_package_is_refused_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)

    with pytest.raises(ImportError, match=r"pip install 'fusetune\[cmaes\]'"):
        tune(bowl, space=MIXED, sampler="cmaes", n_trials=2)
