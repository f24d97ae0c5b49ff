import json
import zipfile

import numpy as np
import pytest

from objectives.metrics import METRICS
from objectives.models.ensemble import EnsembleModel
from objectives.models.mlp import FittedModel
from tests.objectives.models.models import TABLE, classifier, regressor

TWO = np.array(["cat", "dog"], dtype=object)


def shifted(model, by):
    """The same model with other weights."""
    model.network.flat += by
    return model


def trio(make):
    first = make()
    others = [shifted(make(), by) for by in (0.3, -0.4)]
    for other in others:
        other.encoders = first.encoders  # as models of one search have it
    return [first, *others]


MAKERS = {
    "three classes": classifier,
    "two classes": lambda: classifier(TWO),
    "folds": lambda: classifier(n_members=3),
    "values": regressor,
}


@pytest.fixture(params=MAKERS)
def members(request):
    return trio(MAKERS[request.param])


def mean_of(members, weights):
    if members[0].classes is None:
        return np.average([m.predict(TABLE) for m in members], axis=0, weights=weights)
    return np.average([m.predict_proba(TABLE) for m in members], axis=0, weights=weights)


def prediction(model):
    return model.predict(TABLE) if model.classes is None else model.predict_proba(TABLE)


def test_ensemble_predicts_the_weighted_mean_of_its_members(members):
    model = EnsembleModel(members, [3, 1, 1])

    np.testing.assert_allclose(prediction(model), mean_of(members, [3, 1, 1]), rtol=1e-12)
    np.testing.assert_allclose(model.weights, [0.6, 0.2, 0.2])


def test_one_member_predicts_as_if_alone(members):
    model = EnsembleModel(members[:1], [7])

    np.testing.assert_array_equal(prediction(model), prediction(members[0]))
    assert model.predict(TABLE).tolist() == members[0].predict(TABLE).tolist()


def test_labels_and_scores_follow_from_the_mean():
    members = trio(classifier)
    model = EnsembleModel(members, [1, 2, 1])

    expected = mean_of(members, [1, 2, 1])

    labels = model.classes[expected.argmax(axis=1)]
    assert model.predict(TABLE).tolist() == labels.tolist()
    assert model.score(TABLE, labels) == 1.0
    assert model.score(TABLE, labels, "log_loss") == pytest.approx(
        METRICS["log_loss"].score(expected.argmax(axis=1), expected)
    )


def test_a_table_is_encoded_once_for_members_of_one_search(members, monkeypatch):
    calls = []
    rows = FittedModel.rows
    monkeypatch.setattr(FittedModel, "rows", lambda self, X: calls.append(1) or rows(self, X))

    prediction(EnsembleModel(members, [1, 1, 1]))

    assert len(calls) == 1


def test_members_with_encoders_of_their_own_encode_for_themselves():
    members = [classifier(), shifted(classifier(), 0.3)]
    model = EnsembleModel(members, [1, 1])

    np.testing.assert_allclose(prediction(model), mean_of(members, [1, 1]), rtol=1e-12)
    with pytest.raises(ValueError, match="share their inputs, got several encoders"):
        model.encode(TABLE)


def test_a_loaded_ensemble_is_the_saved_one(members, tmp_path):
    model = EnsembleModel(members, [3, 1, 1])
    model.save(tmp_path / "model.ensemble.zip")

    loaded = EnsembleModel.load(tmp_path / "model.ensemble.zip")

    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(prediction(loaded), prediction(model))
    assert [m.params for m in loaded.members] == [m.params for m in members]
    assert [loaded._group(k) for k in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ([], [], "1 to 25 with a weight each, got 0 members and 0 weights"),
        ([classifier()], [1, 2], "got 1 members and 2 weights"),
        ([classifier()] * 26, [1] * 26, "got 26 members"),
        ([classifier()] * 2, [1, 0], r"finite and above 0, got \[1.0, 0.0\]"),
        ([classifier()], [float("nan")], "finite and above 0"),
        ([classifier(), regressor()], [1, 1], "the same task, got multiclass, regression"),
        ([classifier(), classifier(np.array(["a", "b", "c"]))], [1, 1], "the same classes"),
    ],
)
def test_members_that_cannot_predict_together_are_refused(members, weights, message):
    with pytest.raises(ValueError, match=message):
        EnsembleModel(members, weights)


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def index(**changes):
    def change(contents):
        contents["ensemble.json"] = json.dumps(
            json.loads(contents["ensemble.json"]) | changes
        ).encode()

    return change


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("no ensemble of version 1", index(version=2)),
        ("no ensemble of version 1", index(format="recipe")),
        ("members that it lists", index(members=["member_0.model.zip"])),
        ("members that it lists", lambda contents: contents.update({"code.py": b"print()"})),
        ("members that it lists", lambda contents: contents.pop("member_1.model.zip")),
        ("contradicts itself", index(encoded_as=[0, 2, 0])),
        ("is damaged or was altered", index(weights=[1, -1, 1])),
        ("is damaged or was altered", index(weights=[1])),
        ("is damaged or was altered", index(weights="many")),
        (
            "is damaged or was altered",
            lambda contents: contents.update({"member_0.model.zip": b"PK"}),
        ),
        ("is damaged or was altered", lambda contents: contents.update({"ensemble.json": b"[1"})),
    ],
)
def test_a_file_that_is_no_ensemble_is_refused_in_one_sentence(reason, change, tmp_path):
    path = tmp_path / "model.ensemble.zip"
    EnsembleModel(trio(classifier), [3, 1, 1]).save(path)
    rewrite(path, change)

    with pytest.raises(ValueError, match=reason) as refused:
        EnsembleModel.load(path)

    assert str(refused.value).startswith("path must be a file that EnsembleModel.save wrote")


def test_members_that_swell_on_reading_are_refused(tmp_path):
    path = tmp_path / "model.ensemble.zip"
    EnsembleModel(trio(classifier), [3, 1, 1]).save(path)
    rewrite(path, lambda c: c.update({"x": bytes(1_000_000)}), zipfile.ZIP_DEFLATED)

    with pytest.raises(ValueError, match="members larger than itself"):
        EnsembleModel.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("make", [classifier, lambda: classifier(TWO), regressor])
def test_an_exported_ensemble_predicts_the_same(make, tmp_path):
    import onnxruntime

    model = EnsembleModel(trio(make), [3, 1, 1])
    model.export_onnx(tmp_path / "model.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"x": model.encode(TABLE).numpy()})

    np.testing.assert_allclose(found, prediction(model), rtol=1e-3, atol=1e-4)
