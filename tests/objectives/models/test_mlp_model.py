import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import torch

from objectives.data import encoders
from objectives.data.encoders import TabularEncoder
from objectives.metrics import METRICS
from objectives.models.mlp import FittedModel
from tests.objectives.models.models import TABLE, THREE, classifier, network, regressor


def test_members_are_averaged_by_their_probabilities():
    together = classifier(n_members=3)
    net = together.network
    outputs = net(torch.from_numpy(together.encoders[0].transform(TABLE))).double()

    expected = torch.stack([member.softmax(-1) for member in outputs]).mean(0)

    np.testing.assert_allclose(together.predict_proba(TABLE), expected, rtol=1e-12)


def test_members_are_averaged_by_their_values_in_units_of_the_target():
    together = regressor(n_members=2)
    outputs = together.network(torch.from_numpy(together.encoders[0].transform(TABLE))).double()

    expected = 100.0 + 7.5 * outputs[..., 0].mean(0)

    np.testing.assert_allclose(together.predict(TABLE), expected, rtol=1e-12)


@pytest.mark.parametrize("classes", [THREE, np.array(["no", "yes"])], ids=["three", "two"])
def test_probabilities_have_a_column_for_each_class_and_sum_to_one(classes):
    model = classifier(classes)

    p = model.predict_proba(TABLE)

    assert p.shape == (6, len(classes))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert model.predict(TABLE).tolist() == classes[p.argmax(axis=1)].tolist()


def test_probabilities_of_a_regression_are_refused():
    with pytest.raises(TypeError, match="got task='regression'; use predict"):
        regressor().predict_proba(TABLE)


def test_columns_are_found_by_name_and_others_ignored():
    model = classifier()
    shuffled = TABLE[["new", "size", "colour"]].assign(other=1)

    np.testing.assert_array_equal(model.predict_proba(shuffled), model.predict_proba(TABLE))


def test_arrays_have_all_columns_of_the_table_first_handed_in(tmp_path):
    columns = ["size", "left_out", "colour", "new"]
    model = classifier(input_columns=columns)
    model.save(tmp_path / "model.zip")
    array = TABLE.assign(left_out=0)[columns].to_numpy(dtype=object)

    predicted = FittedModel.load(tmp_path / "model.zip").predict_proba(array)

    np.testing.assert_array_equal(predicted, model.predict_proba(TABLE))


def test_rows_go_through_the_network_in_batches_of_bounded_size(monkeypatch):
    model = classifier()
    whole = model.predict_proba(TABLE)
    n_rows = []
    model.network.register_forward_hook(lambda net, rows, out: n_rows.append(len(rows[0])))

    monkeypatch.setattr(encoders, "BATCH_ROWS", 4)
    batched = model.predict_proba(TABLE)

    assert n_rows == [4, 2]
    np.testing.assert_allclose(batched, whole, rtol=1e-6)


@pytest.mark.parametrize(("model", "shape"), [(classifier(), (0, 3)), (regressor(), (0,))])
def test_no_rows_give_no_predictions(model, shape):
    predict = model.predict if model.classes is None else model.predict_proba

    assert predict(TABLE.iloc[:0]).shape == shape


def test_the_model_does_not_follow_the_network_it_was_made_from():
    encoder = TabularEncoder.fit(TABLE)
    net = network(encoder, n_outputs=3)
    model = FittedModel(
        network=net,
        encoders=[encoder],
        task="multiclass",
        metric=METRICS["accuracy"],
        feature_names=list(TABLE.columns),
        classes=THREE,
    )
    before = model.predict_proba(TABLE)

    net.flat.zero_()

    np.testing.assert_array_equal(model.predict_proba(TABLE), before)


def test_score_is_the_tuned_metric_unless_another_is_named():
    model = classifier(metric=METRICS["log_loss"])
    y = np.array(["cat", "cow", "dog", "cat", "cow", "dog"])
    weight = np.arange(6.0)

    assert model.score(TABLE, y) == pytest.approx(sk.log_loss(y, model.predict_proba(TABLE)))
    assert model.score(TABLE, list(y), "accuracy", sample_weight=weight) == pytest.approx(
        sk.accuracy_score(y, model.predict(TABLE), sample_weight=weight)
    )


@pytest.mark.parametrize("form", [list, np.asarray, pd.Series, pd.Categorical, torch.tensor])
def test_score_takes_labels_in_every_form(form):
    model = classifier(np.array([3, 5, 8]))
    predicted = model.predict(TABLE)

    assert model.score(TABLE, form(predicted.tolist())) == 1.0


def test_labels_of_mixed_types_that_became_text_are_found():
    model = classifier(np.array(["1", "2", "three"], dtype=object))
    y = [int(label) if label.isdigit() else label for label in model.predict(TABLE)]

    assert model.score(TABLE, y) == 1.0


def test_score_of_values_is_in_units_of_the_target():
    model = regressor()

    assert model.score(TABLE, model.predict(TABLE) + 3) == pytest.approx(3)
    assert model.score(TABLE, (model.predict(TABLE) - 2)[:, None], "mae") == pytest.approx(2)


@pytest.mark.parametrize(
    ("model", "y", "metric", "message"),
    [
        (classifier(np.array([3, 5])), [3] * 5 + [9], None, "got 9; they are 3, 5"),
        (classifier(), ["cat"] * 5 + ["bird"], None, "got 'bird'; they are 'cat', 'cow', 'dog'"),
        (classifier(), ["cat"] * 5, None, "one entry for each row of X, got 5 entries and 6 rows"),
        (classifier(), ["cat"] * 6, "rmse", "for task='multiclass', .*got metric='rmse'"),
        (regressor(), [1.0, 2, 3, np.nan, 5, 6], None, "finite numbers, got nan in row 3"),
        (regressor(), ["1", "2", "3", "4", "5", "x"], None, "got 'x' in row 5"),
    ],
    ids=["number", "label", "length", "metric", "nan", "text"],
)
def test_truth_that_cannot_be_scored_is_refused(model, y, metric, message):
    with pytest.raises(ValueError, match=message):
        model.score(TABLE, y, metric)


def test_repr_tells_task_metric_and_hyperparameters():
    assert repr(classifier()) == (
        "FittedModel(task='multiclass', metric='accuracy', n_classes=3, n_features=3, "
        "params={'learning_rate': 0.001, 'batch_size': 64, 'activation': 'relu'})"
    )
