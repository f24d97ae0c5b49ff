"""Mistakes in a call: one sentence that names the argument and the cure, before any training."""

import numpy as np
import pandas as pd
import pytest

from tuner import tune_mlp

FAST = {"epochs": 2, "show_progress_bar": False}
FRAME = pd.DataFrame({"a": np.arange(40.0) % 7, "b": list("xyzw") * 10, "y": [0, 1] * 20})
MISTAKES = [
    ({"n_trials": 0}, "n_trials must be a whole number of at least 1, got n_trials=0"),
    ({"n_trials": 2.5}, "n_trials must be a whole number of at least 1, got n_trials=2.5"),
    ({"timeout": 0}, "timeout must be above 0 seconds, or None for no limit, got timeout=0"),
    ({"timeout": float("inf")}, "None for no limit, got timeout=inf"),
    ({"timeout": float("nan")}, "timeout must be above 0 seconds"),
    ({"sampler": "tpee"}, r"sampler must be one of .*; did you mean 'tpe'\?"),
    ({"pruner": "medan"}, r"pruner must be one of .*; did you mean 'median'\?"),
    ({"metric": "acuracy"}, r"metric must be one of .*; did you mean 'accuracy'\?"),
    ({"metric": "rmse", "task": "binary"}, "metric must be one of .* for task='binary'"),
    ({"recipe": "modren"}, r"recipe must be one of .*; did you mean 'modern'\?"),
    ({"space": {"learning_rat": 0.1}}, r"space must name .*; did you mean 'learning_rate'\?"),
    ({"space": {"activation": "rleu"}}, r"activation must be one of .*; did you mean 'relu'\?"),
    ({"space": {"dropout": 1.5}}, "dropout must be at least 0 and at most 0.95, got 1.5"),
    ({"space": {"dropout": []}}, "dropout must have at least one choice"),
    ({"space": {"hidden_units": (64, 16)}}, "hidden_units must have low < high"),
    (
        {"space": {"batch_size": (16, "full")}},
        "must have numbers as low and high, got 16 and 'full'",
    ),
    ({"space": {"learning_rate": (0.0, 0.1)}}, "learning_rate must be above 0"),
    ({"space": {"n_layers": 1.5}}, "n_layers must be a whole number"),
    ({"space": {"n_layers": float("nan")}}, "n_layers must be"),
    ({"space": {"batch_size": "half"}}, "batch_size must be .* or full"),
    ({"epochs": 0}, "epochs must be a whole number at least 1, got 0"),
    ({"patience": 0}, "patience must be a whole number of at least 1 or None"),
    ({"enqueue": [{"dropuot": 0.1}]}, r"params must name .*; did you mean 'dropout'\?"),
    ({"seed": -1}, "seed must be a whole number of at least 0, got seed=-1"),
    ({"seed": 1.5}, "seed must be a whole number of at least 0, got seed=1.5"),
    ({"sampler": "manual", "trials": []}, "trials must hold at least one configuration"),
    ({"sampler": "manual"}, "trials must be given for sampler='manual'"),
    ({"trials": [{}]}, "trials must be given for sampler='manual' and only there"),
    ({"target": "z"}, "target"),
    ({"storage": "study.txt"}, r"storage must end in \.journal or \.db"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_is_one_sentence_before_any_training(arguments, words):
    called = []
    call = {"target": "y", "callbacks": [lambda *_: called.append(1)], **FAST, **arguments}

    with pytest.raises(ValueError, match=words) as error:
        tune_mlp(FRAME, **call)

    assert "\n" not in str(error.value)
    assert not called


def test_a_metric_of_values_makes_a_target_of_few_numbers_a_regression():
    frame = FRAME.assign(y=np.arange(40) % 4)

    result = tune_mlp(frame, target="y", metric="mae", n_trials=1, **FAST)

    assert result.objective.data.task == "regression"
