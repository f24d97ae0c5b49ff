import gzip
import json
import os
import re
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.metrics import Metric
from objectives.models.mlp import FittedModel
from tests.objectives.models.models import TABLE, THREE, classifier, regressor

PEOPLE = Path(__file__).parents[2] / "data" / "people.csv"


@pytest.fixture
def saved(tmp_path):
    classifier().save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


@pytest.fixture(params=["binary", "compact"])
def earlier(request, tmp_path):
    """A file of version 1, whose encoder skops wrote."""
    content = gzip.decompress((PEOPLE.parent / f"{request.param}.model.zip.gz").read_bytes())
    (tmp_path / "earlier.zip").write_bytes(content)
    return tmp_path / "earlier.zip"


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "classes",
    [
        THREE,
        np.array(["cat", "dog"], dtype="<U8"),
        np.array([-1, 1], dtype=np.int8),
        np.array([False, True]),
        np.array([0.5, 1.5, 2.5]),
        np.array([b"caf\xe9", b"tea"]),
        np.array([np.int64(1), "two", True], dtype=object),
    ],
    ids=lambda classes: classes.dtype.name,
)
def test_labels_keep_their_type_also_in_a_file(classes, tmp_path):
    model = classifier(classes)
    model.save(tmp_path / "model.zip")

    loaded = FittedModel.load(tmp_path / "model.zip")
    predicted = loaded.predict(TABLE)

    assert loaded.classes.tolist() == classes.tolist()
    assert predicted.dtype == classes.dtype
    assert predicted.tolist() == model.predict(TABLE).tolist()
    assert set(predicted.tolist()) <= set(classes.tolist())


@pytest.mark.parametrize(
    "label",
    [pd.Interval(0, 1), ("a", 1), pd.Timedelta(1, "h"), np.timedelta64(1, "h"), 1 + 2j],
    ids=lambda label: type(label).__name__,
)
def test_labels_that_a_file_cannot_hold_are_refused_in_one_sentence(label, tmp_path):
    classes = np.empty(2, dtype=object)
    classes[:] = [label, label]

    with pytest.raises(ValueError, match=r"must be text, .*, got .*astype\(str\)"):
        classifier(classes).save(tmp_path / "model.zip")

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("model", [classifier(n_members=3), regressor()], ids=["classes", "values"])
def test_a_loaded_model_is_the_saved_one(model, tmp_path):
    model.save(tmp_path / "model.zip")

    loaded = FittedModel.load(str(tmp_path / "model.zip"))

    assert repr(loaded) == repr(model)
    assert loaded.feature_names == model.feature_names
    assert loaded.metric is model.metric
    np.testing.assert_array_equal(loaded.predict(TABLE), model.predict(TABLE))
    loaded.save(tmp_path / "again.zip")
    np.testing.assert_array_equal(
        FittedModel.load(tmp_path / "again.zip").predict(TABLE), model.predict(TABLE)
    )


def test_another_process_predicts_the_same_to_the_last_bit_and_loads_no_images(tmp_path):
    model = classifier(n_members=3)
    model.save(tmp_path / "model.zip")
    TABLE.to_json(tmp_path / "table.json")
    code = (
        "import sys, numpy, pandas; from objectives import load_model\n"
        "model = load_model(sys.argv[1] + '/model.zip')\n"
        "table = pandas.read_json(sys.argv[1] + '/table.json')\n"
        "numpy.save(sys.argv[1] + '/p.npy', model.predict_proba(table))\n"
        "assert 'torchvision' not in sys.modules  # it takes longer than all the rest"
    )

    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)

    assert np.load(tmp_path / "p.npy").tobytes() == model.predict_proba(TABLE).tobytes()


def test_loading_leaves_the_random_state_alone(saved):
    torch.manual_seed(0)
    expected = torch.rand(1)

    torch.manual_seed(0)
    FittedModel.load(saved)

    assert torch.rand(1) == expected


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "model.zip"
    path.write_text("an older file")

    regressor().save(path)

    assert os.listdir(tmp_path) == ["model.zip"]
    assert FittedModel.load(path).task == "regression"


def test_a_save_that_fails_keeps_the_older_file(saved):
    older = saved.read_bytes()
    model = classifier()
    model.params["bad"] = object()

    with pytest.raises(TypeError, match="not JSON serializable"):
        model.save(saved)

    assert saved.read_bytes() == older
    assert os.listdir(saved.parent) == [saved.name]


def test_a_file_holds_no_pickle(saved):
    members = members_of(saved)

    assert sorted(members) == ["encoder_0.json", "model.json", "weights.safetensors"]
    assert json.loads(members["encoder_0.json"])


def test_a_file_of_version_1_is_saved_again_as_it_was_read(earlier, tmp_path):
    model = FittedModel.load(earlier)

    model.save(tmp_path / "again.zip")

    again, people = FittedModel.load(tmp_path / "again.zip"), pd.read_csv(PEOPLE)
    assert "encoder_0.skops" in members_of(tmp_path / "again.zip")
    np.testing.assert_array_equal(again.predict_proba(people), model.predict_proba(people))


def test_a_metric_of_ones_own_is_given_again_for_a_score(tmp_path):
    own = Metric("hits", "maximize", ("multiclass",), lambda y, p, w: 0.25, None)
    classifier(metric=own).save(tmp_path / "model.zip")

    unknown = FittedModel.load(tmp_path / "model.zip")
    assert unknown.predict(TABLE).tolist() == classifier().predict(TABLE).tolist()
    with pytest.raises(ValueError, match="got metric='hits'"):
        unknown.score(TABLE, ["cat"] * 6)
    loaded = FittedModel.load(tmp_path / "model.zip", metric=own)

    assert loaded.score(TABLE, ["cat"] * 6) == 0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/model.zip", "existing folder, got path=.*; create '.*such' first"),
        ("", "path must be a file, got the folder path=.*; add a file name"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        classifier().save(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"existing file, got path='.*model\.zip'; check the name"):
        FittedModel.load(tmp_path / "model.zip")


def test_a_file_cut_off_anywhere_is_refused(saved):
    content = saved.read_bytes()

    for n_bytes in range(0, len(content), 997):
        saved.write_bytes(content[:n_bytes])
        with pytest.raises(ValueError, match="which is another kind of file, or cut off"):
            FittedModel.load(saved)


def record(**changes):
    """Return an alteration of top-level entries of model.json."""

    def alter(members):
        return members | {
            "model.json": json.dumps(json.loads(members["model.json"]) | changes).encode()
        }

    return alter


def layers(**changes):
    """Return an alteration of the network's configuration."""

    def alter(members):
        config = json.loads(members["model.json"])["network"]
        return record(network=config | changes)(members)

    return alter


def member(name, content):
    return lambda members: members | {name: content}


def step(**changes):
    """Return an alteration of what encodes the numbers of the table."""

    def alter(members):
        parts = json.loads(members["encoder_0.json"])
        parts[0]["steps"][0] |= changes
        return members | {"encoder_0.json": json.dumps(parts).encode()}

    return alter


ALTERED = [
    (
        "is another kind of file, or cut off: it holds readme.txt",
        lambda _: {"readme.txt": b"hello"},
    ),
    ("is another kind of file, or cut off: it holds code.py", member("code.py", b"print('hello')")),
    ("is another kind of file", record(format="recipe")),
    ("has version 3, not 2; update fusetune", record(version=3)),
    ("contradicts itself", record(task="binary")),
    ("contradicts itself", record(classes={"dtype": "|O", "values": ["cat", "dog"]})),
    ("holds labels of type 'V8'", record(classes={"dtype": "V8", "values": ["a", "b", "c"]})),
    (
        "holds labels of type '<U500000000'",
        record(classes={"dtype": "<U500000000", "values": ["a", "b", "c"]}),
    ),
    ("holds nested labels", record(classes={"dtype": "<i8", "values": [[1], [2], [3]]})),
    ("holds weights of another network", layers(hidden_units=6)),
    ("holds the encoder of another model", record(encoders=[{"n_outputs": 9}])),
    ("describes a network larger than its weights", layers(n_layers=10**12)),
    ("is damaged or was altered", layers(device="cuda")),
    ("is damaged or was altered", member("model.json", b"[1, 2")),
    ("is damaged or was altered", member("model.json", b"[1, 2]")),
    ("is damaged or was altered", member("weights.safetensors", b"12345678")),
    ("is damaged or was altered", member("encoder_0.json", b"")),
    ("is damaged or was altered", member("encoder_0.json", b"[" * 100_000)),
    ("is another kind of file, or cut off", member("encoder_0.skops", b"")),
    ("is damaged or was altered", step(type="Path")),
    ("is damaged or was altered", step(type="__init__")),
    ("is damaged or was altered", step(median_=1.0)),
    ("is damaged or was altered", step(median_=[[1.0]])),
    ("is damaged or was altered", step(median_=["1.0"])),
    ("is damaged or was altered", step(median_=[float("inf")])),
    ("contradicts itself", lambda members: members | {"encoder_0.json": b"[]"}),
]


@pytest.mark.parametrize(("reason", "alter"), ALTERED)
def test_a_file_that_is_not_a_model_is_refused_in_one_sentence(reason, alter, saved):
    rewrite(saved, alter(members_of(saved)))

    with pytest.raises(ValueError, match=re.escape(f", which {reason}")) as refused:
        FittedModel.load(saved)

    assert str(refused.value).startswith("path must be a file that FittedModel.save wrote, got")
    assert "\n" not in str(refused.value)


def test_members_that_swell_on_reading_are_refused(saved):
    swelling = members_of(saved) | {"weights.safetensors": bytes(10_000_000)}
    rewrite(saved, swelling, zipfile.ZIP_DEFLATED)

    with pytest.raises(ValueError, match="holds members larger than itself"):
        FittedModel.load(saved)


@pytest.mark.parametrize("earlier", ["compact"], indirect=True)
def test_an_encoder_that_names_a_foreign_type_is_refused_and_nothing_is_run(
    earlier, tmp_path, monkeypatch
):
    (tmp_path / "foreign_code.py").write_text("raise SystemExit('this was run')\nclass Thing: ...")
    monkeypatch.syspath_prepend(tmp_path)
    members = members_of(earlier)
    inner = BytesIO(members["encoder_0.skops"])
    schema = members_of(inner)["schema.json"].decode()
    assert '"objectives.data.transformers"' in schema
    schema = schema.replace('"__class__": "Standard"', '"__class__": "Thing"')
    schema = schema.replace('"objectives.data.transformers"', '"foreign_code"')
    altered = BytesIO()
    rewrite(altered, members_of(inner) | {"schema.json": schema.encode()})
    rewrite(earlier, members | {"encoder_0.skops": altered.getvalue()})

    with pytest.raises(ValueError, match=r"names the type foreign_code\.\w+, which no model holds"):
        FittedModel.load(earlier)

    assert "foreign_code" not in sys.modules


@settings(max_examples=25)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_changes_nothing(tmp_path_factory, where, flip):
    path = tmp_path_factory.mktemp("model") / "model.zip"
    model = classifier()
    model.save(path)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= flip
    path.write_bytes(content)

    try:
        loaded = FittedModel.load(path)
    except ValueError as error:
        assert "that FittedModel.save wrote" in str(error)  # noqa: PT017 - either outcome is right
    else:
        np.testing.assert_array_equal(loaded.predict_proba(TABLE), model.predict_proba(TABLE))
