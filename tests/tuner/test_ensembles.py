"""What a search predicts with: an ensemble of trials where that is better, else the best one."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from objectives import CNNObjective, FittedModel, FittedModule, MLPObjective, ModuleObjective
from objectives.metrics import METRICS
from objectives.models.ensemble import EnsembleModel, HeldOut, Library
from objectives.models.held_out import scale_temperature
from objectives.models.mlp import Frozen
from tests.objectives.networks import KINDS, PICTURES, SHADES, SIGNALS, build_flat
from tests.tuner.commands import run
from tests.tuner.reports import Page
from tuner import load_result, tune_cnn, tune_finetune, tune_mlp, tune_module
from tuner.storage.chosen import Recorded, in_words
from tuner.storage.view import view_of

SMALL = {"hidden_units": 8, "n_layers": 1, "batch_size": 32}
FAST = {"epochs": 5, "space": SMALL, "pruner": "none", "show_progress_bar": False}
NOISE = np.random.default_rng(0)
X = NOISE.normal(size=(90, 4))
CURVED = 2 * X[:, 0] + 2 * np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3]
NOISY = X, CURVED + 0.5 * NOISE.normal(size=90)
# Networks that differ and know little: their mean is better than each.
ALIKE = FAST | {
    "space": {
        "hidden_units": 16,
        "n_layers": 1,
        "batch_size": 16,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "activation": ["relu", "tanh", "gelu", "silu"],
    },
    "epochs": 25,
    "folds": 3,
    "sampler": "random",
    "include_default": False,
}


@pytest.mark.parametrize("options", [{"n_repeats": 2}, {"folds": 3}, {"folds": 3, "n_repeats": 2}])
@pytest.mark.parametrize("dataset", ["wine", NOISY])
def test_held_out_predictions_are_of_rows_that_a_network_has_not_seen(dataset, options):
    objective = MLPObjective(dataset, space=SMALL | {"epochs": 3}, **options)
    cohort = objective.cohort(seed=0)
    cohort.add(0, {name: row.default for name, row in objective.space.items()})
    values = [cohort.train_epoch()[0].value for _ in range(3)]
    model, rows = cohort.model(0), objective.held_out_rows

    predictions = objective.held_out(model)

    assert len(predictions) == len(rows.y)
    score = objective.metric.score(rows.y, predictions)
    best = max(values) if objective.metric.direction == "maximize" else min(values)
    assert score == pytest.approx(best, abs=0.25 * abs(best))


def test_a_number_gives_an_ensemble_that_predicts_by_the_mean_of_its_trials(tmp_path):
    storage = tmp_path / "s.journal"
    result = tune_mlp(NOISY, n_trials=8, storage=storage, **ALIKE)

    weights = result.ensemble_weights()
    assert len(weights) > 1
    assert weights["weight"].sum() == pytest.approx(1)
    single = [result.model_of(number).predict(X) for number in weights["trial"]]
    expected = np.average(single, axis=0, weights=weights["weight"])
    np.testing.assert_allclose(result.model.predict(X), expected, rtol=1e-4)
    assert len(result.best_model.network.flat) == 3
    assert np.isfinite(float(result.test_score()))
    result.model.save(tmp_path / "model.zip")
    for loaded in (FittedModel.load(tmp_path / "model.zip"), load_result(storage).model):
        assert (loaded.predict(X) == result.model.predict(X)).all()


def test_a_continued_search_may_choose_what_an_earlier_one_has_chosen(tmp_path):
    call = {"ensemble": 5, "storage": tmp_path / "s.journal", **ALIKE}
    first = tune_mlp(NOISY, n_trials=8, **call)
    again = tune_mlp(NOISY, n_trials=8, **call)
    assert (again.model.predict(X) == first.model.predict(X)).all()

    more = tune_mlp(NOISY, n_trials=9, **call)

    known = {8, *first.ensemble_weights()["trial"], more.best_trial.number}
    assert set(more.ensemble_weights()["trial"]) <= known
    assert (load_result(call["storage"]).model.predict(X) == more.model.predict(X)).all()


def perceptron(n_inputs, width):
    return nn.Sequential(nn.Linear(n_inputs, width), nn.Tanh(), nn.Linear(width, 1))


def curve(n_outputs, width):
    return nn.Sequential(nn.Flatten(), perceptron(4, width))


class Pair(nn.Module):
    """A module of numbers and further numbers."""

    def __init__(self, width):
        super().__init__()
        self.out = curve(1, width)

    def forward(self, some, others):
        return self.out(torch.cat([some, others], dim=1))


# As `ALIKE`: values that are mostly noise, and networks that know little of them.
MANY = NOISE.normal(size=(160, 4))
VALUES = 2 * MANY[:, 0] + 2 * np.sin(3 * MANY[:, 1]) + NOISE.normal(size=160)
FRAME = pd.DataFrame(MANY, columns=list("abcd")).assign(kind=np.where(VALUES > 0, "up", "down"))
PAIR = {"some": MANY[:, :1].astype(np.float32), "others": MANY[:, 1:].astype(np.float32)}
PIXELS = (MANY.repeat(16, axis=1).reshape(-1, 8, 8) * 40 + 128).clip(0, 255).astype(np.uint8)
UNLIKE = {
    "n_trials": 8,
    "epochs": 5,
    "valid_size": 0.65,
    "test_size": 0.15,
    "sampler": "random",
    "pruner": "none",
    "ensemble": 5,
    "show_progress_bar": False,
}
RATES = {"learning_rate": (0.05, 0.1), "batch_size": 8}
WIDE = RATES | {"width": [1, 16]}  # of which the default configuration is the narrow one
MODULES = {
    "table": (
        lambda **o: tune_module(perceptron, (FRAME, VALUES), space=WIDE, **o),
        perceptron,
        FRAME,
    ),
    "arrays": (lambda **o: tune_module(curve, (MANY, VALUES), space=WIDE, **o), curve, MANY),
    "several inputs": (
        lambda **o: tune_module(Pair, (PAIR, VALUES), space=WIDE, **o),
        Pair,
        PAIR,
    ),
    "images": (
        lambda **o: tune_cnn(
            (PIXELS, VALUES), space=RATES | {"hidden_units": 4, "n_layers": 1}, **o
        ),
        None,
        PIXELS,
    ),
}


def prediction(model, inputs):
    return model.predict(inputs) if model.classes is None else model.predict_proba(inputs)


@pytest.mark.parametrize("name", MODULES)
def test_networks_of_ones_own_and_of_images_predict_together_too(name, tmp_path):
    tuned, build, inputs = MODULES[name]
    storage = tmp_path / "s.journal"

    result = tuned(storage=storage, **UNLIKE)

    model, weights = result.model, result.ensemble_weights()
    assert len(weights) > 1
    members = [prediction(result.model_of(n), inputs) for n in weights["trial"]]
    expected = np.average(members, axis=0, weights=weights["weight"])
    together = EnsembleModel(model.members, model.weights)  # as they are without a temperature
    np.testing.assert_allclose(prediction(together, inputs), expected, rtol=1e-4, atol=1e-6)
    assert isinstance(result.best_model, FittedModule)
    assert isinstance(result.refit(), FittedModule)
    assert "held-out" in result.comparison()
    assert np.isfinite(float(result.test_score()))
    assert "The model that predicts: ensemble" in Page(result.report(tmp_path / "r.html")).text
    model.save(tmp_path / "model.zip")
    loaded = FittedModule.load(tmp_path / "model.zip", build=build)
    for other in (loaded, load_result(storage, build=build).model):
        assert (prediction(other, inputs) == prediction(model, inputs)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: CNNObjective((PICTURES, SHADES), space={"hidden_units": 4, "epochs": 3}),
        lambda: ModuleObjective(build_flat, (SIGNALS, KINDS), space={"epochs": 3}),
        lambda: ModuleObjective(perceptron, (FRAME, VALUES), space={"epochs": 3, "width": 8}),
    ],
)
def test_the_held_out_rows_of_a_module_give_its_trials_value(make):
    objective = make()
    cohort = objective.cohort(seed=0)
    cohort.add(0, {name: row.default for name, row in objective.space.items()})
    values = [cohort.train_epoch()[0].value for _ in range(3)]

    predictions = objective.held_out(cohort.model(0))

    best = max(values) if objective.metric.direction == "maximize" else min(values)
    score = objective.metric.score(objective.held_out_rows.y, predictions)
    assert score == pytest.approx(best, rel=1e-4)


def test_a_table_is_encoded_once_for_modules_that_predict_together():
    model = MODULES["table"][0](**UNLIKE).model

    assert len(model.members) > 1
    assert list(model.rows(FRAME)) == [0]
    assert model.feature_names_in_.tolist() == [*"abcd", "kind"]


def test_an_ensemble_says_where_the_network_of_one_trial_is():
    model = MODULES["arrays"][0](**UNLIKE).model

    assert isinstance(model, EnsembleModel)
    with pytest.raises(
        AttributeError, match=r"several networks predict; see result.best_model.mod"
    ):
        _ = model.module


def test_a_fine_tuned_network_predicts_alone_unless_a_number_is_given():
    options = {"backbone": "mobilenet_v3_small", "weights": None, "image_size": 16}
    call = UNLIKE | {"n_trials": 3, "epochs": 1, **options}

    alone = tune_finetune((PICTURES, SHADES), **call | {"ensemble": "auto"})
    both = tune_finetune((PICTURES, SHADES), **call | {"ensemble": 2})

    assert alone.ensemble_weights()["trial"].tolist() == [alone.best_trial.number]
    assert 1 <= len(both.ensemble_weights()) <= 2
    assert both.best_trial.number == alone.best_trial.number


def test_a_module_keeps_temperature_and_threshold_in_its_file(tmp_path):
    call = UNLIKE | {"n_trials": 1, "ensemble": False, "space": {"hidden_units": 4}}
    model = tune_cnn((PICTURES, SHADES), **call).best_model

    model.at_temperature(2.0).at_threshold(0.3).save(tmp_path / "model.safetensors")

    loaded = FittedModule.load(tmp_path / "model.safetensors")
    expected = scale_temperature(model.predict_proba(PICTURES), 2.0)
    np.testing.assert_allclose(loaded.predict_proba(PICTURES), expected)
    labels = model.classes[(expected[:, 1] >= 0.3).astype(int)]
    assert (loaded.predict(PICTURES) == labels).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["perceptrons", "modules"])
def test_trials_of_an_executors_workers_predict_together(kind, tmp_path):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        call = {"executor": executor, "n_jobs": 2, "storage": tmp_path / "s.journal"}
        if kind == "modules":
            result = MODULES["arrays"][0](**UNLIKE | call)
        else:
            result = tune_mlp(NOISY, **ALIKE | call | {"n_trials": 8, "confirm": False})

    weights = result.ensemble_weights()
    assert len(weights) > 1
    inputs = MANY if kind == "modules" else X
    members = [prediction(result.model_of(n), inputs) for n in weights["trial"]]
    expected = np.average(members, axis=0, weights=weights["weight"])
    together = EnsembleModel(result.model.members, result.model.weights)
    np.testing.assert_allclose(prediction(together, inputs), expected, rtol=1e-4, atol=1e-6)


def gated(n_outputs=3):
    module = build_flat(n_outputs=n_outputs)
    module.gate = lambda x: x  # which cannot be sent to another process
    return module


@pytest.mark.slow
def test_models_that_a_worker_cannot_send_are_left_out_with_a_warning(tmp_path):
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context) as executor,
        pytest.warns(UserWarning, match="the models of a worker cannot be sent here"),
    ):
        result = tune_module(
            gated,
            (SIGNALS, KINDS),
            space={"batch_size": 16},
            executor=executor,
            storage=tmp_path / "s.journal",
            **UNLIKE | {"n_trials": 2},
        )

    assert result.ensemble_weights()["trial"].tolist() == [result.best_trial.number]


def test_without_an_ensemble_the_best_trial_predicts():
    result = tune_mlp(NOISY, ensemble=False, n_trials=3, **FAST)

    assert result.model is result.best_model
    assert result.ensemble_weights()["trial"].tolist() == [result.best_trial.number]


def test_a_result_says_how_it_does_beside_the_default():
    last = optuna.trial.create_trial(value=0.9)
    chosen = Recorded({1: 1.0}, (0.9, 0.9, -0.1, 0.1), 2)

    words = in_words(chosen, "accuracy", "maximize", last)

    assert "trial 1, no better than the default configuration" in words
    assert words.endswith("0.9 beside 0.9, difference 0 (95% interval -0.1 to 0.1)")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A stored search whose result is an ensemble."""
    storage = tmp_path_factory.mktemp("together") / "diabetes.journal"
    options = {
        "n_trials": 6,
        "epochs": 2,
        "sampler": "random",
        "ensemble": 5,
        "show_progress_bar": False,
    }
    return storage, tune_mlp("diabetes", storage=storage, **options)


def test_report_and_show_say_whether_it_was_worth_it_and_what_predicts(together, tmp_path):
    storage, result = together
    heaviest = result.ensemble_weights().iloc[0]

    page = Page(result.report(tmp_path / "study.html"))
    shown, found = run("show", storage), json.loads(run("show", storage, "--json").stdout)

    words = result.comparison()
    assert f"The model that predicts: {words.removeprefix('model: ')}." in page.text
    row = f"trial {heaviest['trial']} {heaviest['weight']:.3f}"
    assert f"what they differ in {row}" in page.text
    assert f"\n{words}\nweights: {row}" in shown.stdout
    assert f"<p>{words}</p>" in result._repr_html_()
    assert found["comparison"] == words
    assert sum(found["weights"].values()) == pytest.approx(1.0)


def test_what_was_chosen_of_fewer_trials_is_no_longer_told(together):
    study = result_of_one_more_trial(together[1])

    assert view_of(study).chosen is None
    assert view_of(study).comparison == ""


def result_of_one_more_trial(result):
    study = optuna.create_study(study_name="more")
    for name, value in result.study.user_attrs.items():
        study.set_user_attr(name, value)
    study.add_trials([*result.study.trials, optuna.trial.create_trial(value=1.0)])
    return study


def test_a_loaded_result_compares_a_single_trial_as_the_search_did(tmp_path):
    storage = tmp_path / "iris.journal"
    options = {"n_trials": 3, "epochs": 3, "ensemble": False, "show_progress_bar": False}
    result = tune_mlp("iris", storage=storage, **options)

    assert result.comparison()
    assert load_result(storage).comparison() == result.comparison()


def test_a_temperature_changes_probabilities_and_is_kept_with_the_model(tmp_path):
    model = tune_mlp("wine", ensemble=False, n_trials=1, **FAST).best_model
    data = model.feature_names
    rows = np.random.default_rng(0).normal(size=(5, len(data)))

    model.at_temperature(2.0).save(tmp_path / "model.zip")

    loaded = FittedModel.load(tmp_path / "model.zip")
    assert (loaded.predict(rows) == model.predict(rows)).all()
    expected = scale_temperature(model.at_temperature(1.0).predict_proba(rows), 2.0)
    np.testing.assert_allclose(loaded.predict_proba(rows), expected)


def test_a_library_keeps_the_best_within_its_memory():
    model = tune_mlp("wine", ensemble=False, n_trials=1, **FAST).best_model
    one = model.network.flat.nbytes + 40
    library = Library("minimize", max_bytes=3 * one)

    for number, value in enumerate([5.0, 1.0, 4.0, 2.0, 3.0]):
        library.add(number, value, model, np.zeros(10, np.float32))

    assert library.numbers == {1, 3, 4}


class Constant(Frozen):
    """A model of 100 bytes that predicts one number."""

    n_bytes = 100

    def share_inputs(self, other):
        pass


def constants(values, **options):
    library = Library("minimize", **options)
    for number, value in values.items():
        library.add(number, value, Constant(), np.full(4, value, np.float32))
    return library


def test_a_library_without_room_takes_only_what_is_better():
    library = constants({0: 2.0}, max_bytes=0)

    assert [library.would_keep(value) for value in (1.0, 2.0, 3.0)] == [True, False, False]
    assert constants({0: 2.0, 1: 1.0, 2: 3.0}, max_bytes=0).numbers == {1}


def test_a_best_trial_that_is_not_of_the_best_value_stays_and_predicts():
    library = constants({0: 1.0, 1: 2.0}, max_bytes=0)
    best = Constant()

    library.add(2, 5.0, best, np.full(4, 5.0, np.float32), stays=True)

    rows = HeldOut(np.zeros(4), None, None)
    choice = library.choose(METRICS["rmse"], rows, best=2, ensemble=False, seed=0)
    assert choice.model is best


def test_libraries_of_several_workers_are_as_good_as_one():
    values = {number: float(number % 7) for number in range(60)}
    whole, parts = (
        constants(values),
        [constants({n: v for n, v in values.items() if n % 3 == k}) for k in range(3)],
    )

    merged = Library("minimize")
    for part in [*parts, parts[0]]:
        merged.merge(part)

    assert merged.numbers == whole.numbers
    assert len(merged) == len(whole) == 25


@pytest.mark.parametrize("ensemble", [True, 0, 26, "yes", 1.5])
def test_what_is_no_ensemble_is_refused(ensemble):
    with pytest.raises(ValueError, match="ensemble must be 'auto', False or a whole number"):
        MLPObjective("iris", ensemble=ensemble)


RARE = np.random.default_rng(5).normal(size=(600, 3))
FEW_POSITIVE = RARE, (RARE[:, 0] + NOISE.normal(size=600) > 1.8).astype(int)
QUICK = FAST | {"epochs": 8, "space": SMALL | {"learning_rate": 0.02}}
F1 = {"metric": "f1_macro", "folds": 3, "n_trials": 1, "ensemble": False, **QUICK}


def test_a_threshold_chosen_for_the_metric_is_kept_with_the_model(tmp_path):
    storage = tmp_path / "s.journal"
    model = tune_mlp(FEW_POSITIVE, threshold="tune", storage=storage, **F1).model
    plain = tune_mlp(FEW_POSITIVE, **F1).model

    assert plain.threshold == 0.5 != model.threshold
    np.testing.assert_allclose(model.predict_proba(RARE), plain.predict_proba(RARE))
    expected = (model.predict_proba(RARE)[:, 1] >= model.threshold).astype(int)
    assert (model.predict(RARE) == expected).all()
    assert model.score(*FEW_POSITIVE) == pytest.approx(
        f1_score(FEW_POSITIVE[1], expected, average="macro")
    )
    assert model.score(*FEW_POSITIVE, "log_loss") == plain.score(*FEW_POSITIVE, "log_loss")
    model.save(tmp_path / "model.zip")
    for loaded in (FittedModel.load(tmp_path / "model.zip"), load_result(storage).model):
        assert (loaded.predict(RARE) == expected).all()
    both = EnsembleModel([plain, plain.at_temperature(2.0)], [1, 1]).at_threshold(0.2)
    both.save(tmp_path / "both.zip")
    assert (FittedModel.load(tmp_path / "both.zip").predict(RARE) == both.predict(RARE)).all()


def test_a_test_score_is_of_the_labels_that_the_threshold_gives():
    result = tune_mlp(FEW_POSITIVE, threshold="tune", **F1)
    test = result.objective.data.open_test()

    expected = f1_score(test.y, result.model.predict(test.X), average="macro")
    assert float(result.test_score()) == pytest.approx(expected)


def test_a_threshold_is_of_two_classes():
    with pytest.raises(ValueError, match="threshold must be left out unless there are two classes"):
        MLPObjective("iris", threshold="tune")


def test_the_default_configuration_may_predict_although_others_seemed_better():
    model = tune_mlp("wine", ensemble=False, n_trials=1, **FAST).best_model
    rng, library = np.random.default_rng(0), Library("minimize")
    y = rng.normal(size=60)
    rows = HeldOut(y, None, None)

    library.add(0, 1.0, model, np.float32(y + 0.3 * rng.normal(size=60)), is_default=True)
    library.add(1, 0.9, model, np.float32(y + 2 * rng.normal(size=60)))
    choice = library.choose(METRICS["rmse"], rows, best=1, ensemble="auto", seed=0)

    assert choice.weights == {0: 1.0}
    assert "model: trial 0, the default configuration, as no other is surely better" in in_words(
        choice, "rmse", "minimize"
    )
