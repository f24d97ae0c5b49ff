"""The arguments of the entry points: defined once, shown everywhere, and checked at the door."""

import inspect
import json
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

import tuner
import tuner.api
from objectives import load_images, load_tabular
from objectives.space.registry import READY_MADE
from objectives.space.space import describe, free_space, make_space
from objectives.space.tables import MLP_TABLE
from tuner.search.arguments import arguments_for

DOORS = [*READY_MADE.values(), None]
REQUIRED = {"build", "dataset", "objective"}


def name_of(entry):
    return "tune" if entry is None else entry.function


def door(entry):
    return getattr(tuner, name_of(entry))


@pytest.mark.parametrize("entry", DOORS, ids=name_of)
def test_a_signature_lists_every_argument_with_its_default(entry):
    shown = inspect.signature(door(entry)).parameters
    options = {name: p.default for name, p in shown.items() if name not in REQUIRED}

    assert options == {name: known.default for name, known in arguments_for(entry).items()}
    assert {p.kind.name for p in shown.values()} == {"POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"}
    assert {"sampler", "n_trials", "storage"} <= set(options)


@pytest.mark.parametrize("entry", DOORS, ids=name_of)
def test_help_explains_every_argument_once(entry):
    text = inspect.getdoc(door(entry))
    section = text.split("\nArgs:\n")[1].split("\n\n")[0]

    entries = [line.split(":")[0].strip() for line in section.splitlines() if line[4] != " "]
    assert entries == list(inspect.signature(door(entry)).parameters)


@pytest.mark.parametrize("entry", DOORS, ids=name_of)
def test_type_checkers_see_the_arguments_that_the_signature_shows(entry):
    written = door(entry).__annotations__["options"]
    (definition,) = get_args(eval(written, vars(tuner.api)))

    assert set(definition.__annotations__) == set(arguments_for(entry))


@pytest.mark.parametrize("entry", READY_MADE.values(), ids=name_of)
def test_defaults_are_those_of_the_objective_and_of_the_loader(entry):
    known = arguments_for(entry)
    takers = [entry.objective.__init__]
    takers += {"table": [load_tabular], "images": [load_images], "any": []}[entry.data]
    taken = {
        name: parameter.default
        for taker in takers
        for name, parameter in inspect.signature(taker).parameters.items()
        if name in known
    }

    if entry.kind not in ("cnn", "finetune"):  # those hand theirs on to ModuleObjective
        assert "patience" in taken
    if "folds" in taken:  # a call decides by the rows; an objective by itself has one split
        assert (known["folds"].default, taken.pop("folds")) == ("auto", None)
        assert (known["confirm"].default, taken.pop("confirm")) == ("auto", False)
    assert taken == {name: known[name].default for name in taken}


@pytest.mark.parametrize(
    ("entry", "mistake", "cure"),
    [
        ("mlp", {"n_trails": 5}, r"tune_mlp\(\) .* 'n_trails'; did you mean 'n_trials'\?"),
        ("mlp", {"lr": 0.1}, r"did you mean space=\{'learning_rate': 0\.1\}\?"),
        ("mlp", {"learning_rate": 0.01}, r"did you mean space=\{'learning_rate': 0\.01\}\?"),
        ("cnn", {"learning_rat": 0.01}, r"did you mean space=\{'learning_rate': 0\.01\}\?"),
        ("cnn", {"n_trails": 5}, "did you mean 'n_trials'"),
        ("cnn", {"target": "y"}, "tune_cnn"),
        ("finetune", {"backbones": "vit_b_16"}, "did you mean 'backbone'"),
        ("module", {"max_byte": 5}, "did you mean 'max_bytes'"),
        ("mlp", {"zzz": 5}, "choose from"),
    ],
)
def test_a_misspelt_argument_is_answered_with_the_nearest_name(entry, mistake, cure):
    build = [None] if entry == "module" else []

    with pytest.raises(TypeError, match=cure) as error:
        door(READY_MADE[entry])(*build, "iris", **mistake)

    assert "\n" not in str(error.value)


def test_a_function_has_no_argument_of_networks():
    with pytest.raises(TypeError, match=r"tune\(\) got an unexpected argument 'epochs'"):
        tuner.tune(lambda trial: 0.0, epochs=3)


@pytest.mark.parametrize(
    "call",
    [
        'tune_mlp("iris", n_trails=5)',
        'tune_mlp("iris", lr=0.1)',
        'tune_mlp("nosuch.csv", target="y")',
        'tune_mlp("iris", sampler="tpee")',
        'tune_mlp("iris", space={"learning_rat": 0.1})',
        'tune_mlp("iris", enqueue=[{"dropuot": 0.1}])',
        'tune_mlp("iris", n_jobs=0)',
        'tune_cnn("nosuch")',
        'tune_finetune("digits", lr=0.1)',
        "tune(len, n_trails=5)",
    ],
)
def test_a_mistake_is_reported_before_torch_is_loaded(call):
    code = (
        "import sys, tuner\n"
        f"try:\n    tuner.{call}\nexcept (TypeError, ValueError) as error:\n    print(error)\n"
        "else:\n    raise SystemExit('no error')\n"
        "assert 'torch' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("ends", [(20, 40), (100, 120), (32, 33)])
def test_a_range_of_fewer_than_two_powers_of_two_holds_its_whole_numbers(ends):
    space = make_space(MLP_TABLE, {"batch_size": ends})

    assert describe(space)["batch_size"] == {"low": ends[0], "high": ends[1]}
    assert ends[0] <= space["batch_size"].default <= ends[1]


def test_numbers_of_numpy_stand_in_a_space_as_pythons_own():
    space = {"n_layers": list(np.arange(1, 4)), "hidden_units": (np.int64(8), np.int64(64))}
    own = {"depth": list(np.arange(1, 3)), "bias": [np.True_, np.False_], "width": np.int64(7)}

    made = make_space(MLP_TABLE, space) | free_space(own)

    described = {name: describe(made)[name] for name in (*space, *own)}
    assert json.loads(json.dumps(described)) == {
        "n_layers": {"choices": [1, 2, 3]},
        "hidden_units": {"low": 8, "high": 64, "log": True},
        "depth": {"choices": [1, 2]},
        "bias": {"choices": [True, False]},
        "width": {"fixed": 7},
    }
    assert type(made["depth"].default) is int
