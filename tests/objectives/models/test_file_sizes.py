"""A small file that claims large sizes takes no more memory than its bytes ask for."""

import json
import os
import subprocess
import sys
import zipfile
from io import BytesIO

import numpy as np
import pytest

from objectives.models.files import read_model
from tests.objectives.models.models import classifier
from tests.objectives.models.test_files import earlier, members_of, record, rewrite  # noqa: F401
from tests.objectives.models.test_module_file_safety import altered, saved  # noqa: F401

LOADING = """
import json, resource, sys
from objectives import load_model

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

results, before = [], peak()
for path in sys.argv[1:]:
    message = ""
    try:
        load_model(path)
    except ValueError as error:
        message = str(error)
    results.append((message, peak() - before))
    before = peak()
print(json.dumps(results))
"""
N_LABELS = 40_000


def many_labels(members):
    labels = ["a" * 16_000, *map(str, range(N_LABELS - 1))]
    config = json.loads(members["model.json"])["network"] | {"n_outputs": N_LABELS}
    return record(network=config, classes={"dtype": "<U16384", "values": labels})(members)


def long_level(members):
    """A level that would widen all others, of an encoder that no longer suits its network."""
    parts = json.loads(members["encoder_0.json"])
    colours = next(part for part in parts if part["name"] == "categories")["steps"][0]
    colours |= {"levels_": [["a" * 16_000, *map(str, range(N_LABELS))]], "n_outputs_": [10**12]}
    entry = json.loads(members["model.json"])["encoders"][0] | {"n_outputs": 10**12}
    altered = record(encoders=[entry])(members)
    return altered | {"encoder_0.json": json.dumps(parts).encode()}


def encoder(change):
    """Return an alteration of the members of an encoder that skops wrote."""
    compression = zipfile.ZIP_DEFLATED if change is swelling else zipfile.ZIP_STORED

    def alter(members):
        inner, changed = BytesIO(members["encoder_0.skops"]), BytesIO()
        rewrite(changed, change(members_of(inner)), compression)
        return members | {"encoder_0.skops": changed.getvalue()}

    return alter


def swelling(members):
    return members | {"schema.json": b" " * 10_000_000 + members["schema.json"]}


def swollen_array(members):
    name = next(name for name in members if name.endswith(".npy"))
    content = BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (50_000_000,)}
    np.lib.format.write_array_header_1_0(content, header)
    return members | {name: content.getvalue()}


def array_read_often(members):
    content, names = BytesIO(), [name for name in members if name.endswith(".npy")]
    np.save(content, np.zeros(100_000))
    schema = json.loads(members["schema.json"])
    node = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode"}
    often = [node | {"type": "numpy", "file": names[0], "__id__": i} for i in range(1000)]
    schema["content"]["content"]["often"] = {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "content": often,
    }
    return members | {names[0]: content.getvalue(), "schema.json": json.dumps(schema).encode()}


def nested_objects(members):
    schema = json.loads(members["schema.json"])
    text = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode"}
    inner = text | {"content": '"a"', "is_json": True, "__id__": 1}
    for depth in range(8):
        again = {"__loader__": "CachedNode", "__id__": inner["__id__"]} | {
            "__class__": "list",
            "__module__": "builtins",
        }
        inner = {
            "__class__": "list",
            "__module__": "builtins",
            "__loader__": "ListNode",
            "content": [inner] + [again] * 9,
            "__id__": 2 + depth,
        }
    number = text | {"content": "10", "is_json": True}
    shape = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode"}
    schema["content"]["content"]["nested"] = {
        "__class__": "ndarray",
        "__module__": "numpy",
        "__loader__": "NdArrayNode",
        "type": "json",
        "content": inner["content"],
        "shape": shape | {"content": [number] * 8},
    }
    return members | {"schema.json": json.dumps(schema).encode()}


ALTERED = {
    "labels": (many_labels, "describes a network larger than its weights"),
    "long level": (long_level, "holds the encoder of another model"),
    "array of an encoder": (encoder(swollen_array), "holds arrays larger than itself"),
    "array of an encoder read often": (
        encoder(array_read_often),
        "holds arrays larger than itself",
    ),
    "objects of an encoder": (encoder(nested_objects), "holds nested arrays of objects"),
    "bomb as an encoder": (encoder(swelling), "holds members larger than itself"),
}


INPUTS = {
    "images": {"images": {"n_channels": 3, "size": [20_000, 20_000]}},
    "example": {"images": None, "example": {"shape": [1, 10**9], "whole": True}},
}


@pytest.mark.parametrize("earlier", ["compact"], indirect=True)
def test_a_file_that_claims_large_sizes_takes_no_memory_for_them(
    saved,  # noqa: F811
    earlier,  # noqa: F811
    tmp_path,
):
    good = tmp_path / "model"
    classifier().save(good)
    for name, (alter, _) in ALTERED.items():
        rewrite(tmp_path / name, alter(members_of(earlier if "encoder" in name else good)))
    for name, changes in INPUTS.items():
        altered(saved, tmp_path / name, **changes)

    done = subprocess.run(
        [sys.executable, "-c", LOADING, good, saved, *(tmp_path / n for n in [*ALTERED, *INPUTS])],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )

    first, second, *results = json.loads(done.stdout)
    assert first[0] == second[0] == ""
    for (message, megabytes), reason in zip(
        results, [*(reason for _, reason in ALTERED.values()), "", ""], strict=True
    ):
        assert reason in message
        assert megabytes < 50


def test_a_long_label_among_many_short_ones_does_not_widen_them(tmp_path):
    classes = np.array(["a" * 2_000, *map(str, range(500))])
    classifier(classes).save(tmp_path / "model.zip")

    read = read_model(tmp_path / "model.zip")["classes"]

    assert read.tolist() == classes.tolist()
    assert read.nbytes < 100_000 < classes.nbytes
