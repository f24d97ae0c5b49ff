"""Studies made to show something, without any training."""

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tuner.storage.study import Session

DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "n_layers": IntDistribution(1, 4),
    "activation": CategoricalDistribution(["relu", "tanh"]),
}
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "epochs": {"fixed": 40},
    "dropout": {"low": 0.0, "high": 0.5},
    "n_layers": {"low": 1, "high": 4},
    "activation": {"choices": ["relu", "tanh"]},
}
RECORD = {
    "objective": "mlp",
    "metric": "accuracy",
    "sampler": "tpe",
    "patience": 10,
    "space": SPACE,
    "split": {"n_valid": 1000},
    "seed": 0,
}


def open_session(storage):
    """A session of a study that is there."""
    session = Session(storage, name="s", direction="minimize", record={})
    session.open_study()
    return session


def make_study(*trials, direction="maximize", name="demo", **record):
    study = optuna.create_study(direction=direction, study_name=name)
    study.set_user_attr("fusetune", RECORD | record)
    study.add_trials(trials)
    return study


def make_trial(value=0.5, *, state=TrialState.COMPLETE, stopped="epochs", error=None, **given):
    """A trial; ``given`` are hyperparameters, and lists of a curve: metric, train and valid."""
    curve = {name: given.pop(name) for name in ("metric", "train", "valid") if name in given}
    params = {"learning_rate": 0.003, "dropout": 0.2, "n_layers": 2, "activation": "relu"} | given
    metric = curve.get("metric", [value])
    attributes = {
        "params": params | {"epochs": 40},
        "best_epoch": int(np.nanargmax(np.array(metric, dtype=float))),
        "epochs_run": len(metric),
        "stopped": stopped,
        "curve": {
            "value": metric,
            "valid_loss": curve.get("valid", []),
            "train_loss": curve.get("train", []),
        },
    }
    return create_trial(
        state=state,
        value=None if state is TrialState.FAIL else value,
        params=params,
        distributions={name: DISTRIBUTIONS[name] for name in params},
        user_attrs=attributes | ({} if error is None else {"error": error}),
    )


def random_params(rng):
    return {
        "learning_rate": float(10 ** rng.uniform(-4, -1)),
        "dropout": float(rng.uniform(0, 0.5)),
        "n_layers": int(rng.integers(1, 5)),
        "activation": str(rng.choice(["relu", "tanh"])),
    }


def peaked(n_trials, *, learning_rate=0.003, seed=0):
    """Trials of random search whose value falls with the distance from a learning rate alone."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_trials):
        params = random_params(rng)
        away = abs(np.log10(params["learning_rate"] / learning_rate))
        found.append(make_trial(float(0.95 - 0.2 * away), **params))
    return found


def curve(*, rise=20, fall=0.0, epochs=40):
    """A loss that falls for ``rise`` epochs, and then goes up by ``fall`` an epoch."""
    steps = np.arange(epochs)
    return (
        1.0 - 0.8 * np.minimum(steps, rise) / rise + fall * np.maximum(steps - rise, 0)
    ).tolist()


RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 6e-2, 1e-1]


def by_rate(*, diverged_from):
    return [
        make_trial(state=TrialState.PRUNED, stopped="diverged at epoch 1", learning_rate=rate)
        if rate >= diverged_from
        else make_trial(0.8, learning_rate=rate)
        for rate in RATES
    ]


def rates(*values):
    return [make_trial(0.9 - 0.02 * i, learning_rate=r) for i, r in enumerate(values)]
