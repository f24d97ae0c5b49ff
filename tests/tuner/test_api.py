"""`tune_module` and `tune_cnn`: the same search, tables, storage and result as of `tune_mlp`."""

import shutil
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from objectives.metrics import Metric
from tests.objectives.networks import KINDS, PICTURES, SHADES, SIGNALS, build_flat, share_of_hits
from tuner import StudyMismatchError, tune_cnn, tune_finetune, tune_module

FAST = {"epochs": 2, "show_progress_bar": False}
SMALL = {"hidden_units": 4, "augmentation": "none"}


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_module_of_ones_own_is_searched_in_each_way(sampler):
    result = tune_module(
        build_flat,
        (SIGNALS, KINDS),
        space={"width": [4, 8], "learning_rate": [0.01, 0.1]},
        sampler=sampler,
        n_trials=4,
        **FAST,
    )

    frame = result.trials_dataframe()
    assert len(frame) == 4
    assert {"params_width", "params_learning_rate", "params_schedule"} <= set(frame)
    assert set(result.model.predict(SIGNALS)) <= set(np.unique(KINDS))
    assert 0 <= float(result.test_score()) <= 1
    if sampler == "grid":
        assert len(frame[["params_width", "params_learning_rate"]].drop_duplicates()) == 4


def test_a_manual_search_tries_what_is_listed():
    trials = [{"width": 4}, {"width": 8, "learning_rate": 0.1}]
    result = tune_module(
        build_flat,
        (SIGNALS, KINDS),
        space={"width": (4, 8)},
        sampler="manual",
        trials=trials,
        **FAST,
    )

    assert result.trials_dataframe()["params_width"].tolist() == [4, 8]
    result.try_params(width=6)
    assert result.trials_dataframe()["params_width"].tolist() == [4, 8, 6]


def test_images_are_searched_and_the_model_is_refitted():
    result = tune_cnn((PICTURES, SHADES), space=SMALL, n_trials=3, **FAST)

    assert len(result.trials_dataframe()) == 3
    assert set(result.refit().predict(PICTURES)) <= {"dark", "light"}
    assert result.model_of(0).predict_proba(PICTURES).shape == (60, 2)


def test_a_study_of_images_goes_on_in_its_storage_and_is_not_taken_for_another(tmp_path):
    call = {"storage": tmp_path / "s.journal", "space": SMALL, **FAST}
    tune_cnn((PICTURES, SHADES), n_trials=2, **call)

    result = tune_cnn((PICTURES, SHADES), n_trials=3, **call)

    assert len(result.study.trials) == 3
    with pytest.raises(StudyMismatchError, match="other data"):
        tune_cnn((PICTURES[::-1].copy(), SHADES), n_trials=4, **call)


def test_a_study_of_modules_is_not_gone_on_with_by_another_build_or_loss(tmp_path):
    data = (SIGNALS, SIGNALS.mean((1, 2)))
    call = {"storage": tmp_path / "s.journal", **FAST}
    tune_module(build_line, data, n_trials=2, loss="huber", **call)

    assert len(tune_module(build_line, data, n_trials=3, loss="huber", **call).study.trials) == 3
    with pytest.raises(StudyMismatchError, match="tuned with loss 'huber', now 'mae'"):
        tune_module(build_line, data, n_trials=4, loss="mae", **call)
    with pytest.raises(StudyMismatchError, match="build 'build_line', now 'build_flat_line'"):
        tune_module(build_flat_line, data, n_trials=4, loss="huber", **call)


def build_line():
    return nn.Sequential(nn.Flatten(), nn.Linear(10, 1))


def build_flat_line():
    return nn.Sequential(nn.Flatten(), nn.Linear(10, 1), nn.Flatten(0))


def test_two_processes_train_modules_that_can_be_sent_to_them():
    result = tune_cnn((PICTURES, SHADES), space=SMALL, n_trials=3, n_jobs=2, **FAST)

    assert len(result.trials_dataframe()) == 3


def test_two_processes_train_modules_of_ones_own():
    result = tune_module(
        build_flat,
        (SIGNALS, KINDS),
        n_trials=3,
        n_jobs=2,
        metric=Metric.from_function(share_of_hits, direction="maximize"),
        **FAST,
    )

    assert len(result.trials_dataframe()) == 3


def test_a_build_that_cannot_be_sent_to_processes_is_refused_before_any_training():
    with pytest.raises(ValueError, match="n_jobs must be 1"):
        tune_module(lambda: build_flat(), (SIGNALS, KINDS), n_jobs=2, n_trials=2, **FAST)


def fails_when_wide(width):
    if width > 4:
        raise ArithmeticError("too wide")
    return build_flat(width)


def test_an_error_of_build_fails_its_trial_and_the_study_goes_on():
    result = tune_module(
        fails_when_wide, (SIGNALS, KINDS), space={"width": [4, 8]}, sampler="grid", **FAST
    )

    frame = result.trials_dataframe()
    assert frame["state"].tolist() == ["COMPLETE", "FAIL"]
    assert frame["error"].tolist()[1] == "ArithmeticError: too wide"


def test_time_that_is_up_ends_a_trial_at_its_best_epoch_so_far():
    result = tune_module(
        build_flat,
        (SIGNALS, KINDS),
        epochs=100_000,
        patience=None,
        timeout=0.5,
        n_trials=50,
        show_progress_bar=False,
    )

    frame = result.trials_dataframe()
    assert frame["stopped"].tolist() == ["timeout"]
    assert np.isfinite(frame["value"]).all()


class Interrupted(nn.Module):
    """Meets Ctrl-C while it trains for the second time."""

    n_built = 0

    def __init__(self):
        super().__init__()
        type(self).n_built += 1
        self.number = self.n_built
        self.layer = nn.Linear(10, 3)

    def forward(self, x):
        if self.training and self.number == 4:  # the first was built to look at its outputs
            signal.raise_signal(signal.SIGINT)
        return self.layer(x.flatten(1))


def test_ctrl_c_inside_a_trial_gives_the_result_so_far(capsys):
    result = tune_module(Interrupted, (SIGNALS, KINDS), n_trials=9, include_default=False, **FAST)

    assert result.trials_dataframe()["state"].tolist() == ["COMPLETE", "COMPLETE"]
    assert result.best_value > 0
    assert "interrupted: finished trials are kept" in capsys.readouterr().err


def test_an_option_that_no_one_takes_is_an_error():
    with pytest.raises(TypeError, match="n_trails"):
        tune_module(nn.Linear, (SIGNALS, KINDS), n_trails=3)


def other_build(width=8):
    return build_flat(width)


def slower(progress):
    return 1 - progress


def absolute(outputs, y):
    return nn.functional.cross_entropy(outputs, y)


OTHERS = {
    "build": (other_build, {}, "build 'build_flat', now 'other_build'"),
    "loss": (build_flat, {"loss": absolute}, "loss None, now 'absolute'"),
    "optimizer": (
        build_flat,
        {"optimizer": lambda p, _: torch.optim.SGD(p, lr=0.1)},
        "optimizer None, now '<lambda>'",
    ),
    "schedule": (build_flat, {"schedule": slower}, "schedule None, now 'slower'"),
    "patience": (build_flat, {"patience": 3}, "patience 10, now 3"),
    "groups": (build_flat, {"groups": list(range(20)) * 4}, "split kind .* now 'group'"),
    "sizes": (build_flat, {"test_size": 0.3}, "split test_size 0.2, now 0.3"),
    "space": (build_flat, {"space": {"width": [4, 8]}}, r"width None, now in \[4, 8\]"),
}


@pytest.fixture(scope="module")
def a_module(tmp_path_factory):
    path = tmp_path_factory.mktemp("module") / "s.journal"
    tune_module(build_flat, (SIGNALS, KINDS), storage=path, n_trials=1, **FAST)
    return path


@pytest.mark.parametrize("other", OTHERS)
def test_a_module_that_trains_otherwise_is_another_study(other, a_module):
    build, changed, words = OTHERS[other]

    with pytest.raises(StudyMismatchError, match=words):
        tune_module(build, (SIGNALS, KINDS), storage=a_module, n_trials=2, **FAST | changed)


def test_other_groups_are_other_data(tmp_path):
    call = {"storage": tmp_path / "s.journal", "n_trials": 1, **FAST}
    tune_module(build_flat, (SIGNALS, KINDS), groups=list(range(20)) * 4, **call)

    with pytest.raises(StudyMismatchError, match="other data"):
        tune_module(build_flat, (SIGNALS, KINDS), groups=list(range(19, -1, -1)) * 4, **call)


@pytest.mark.slow
def test_weights_are_known_by_their_content_wherever_they_lie(tmp_path):
    for name in ("a.pth", "other.pth"):
        torch.save(models.mobilenet_v3_small(weights=None).state_dict(), tmp_path / name)
    shutil.copy(tmp_path / "a.pth", tmp_path / "moved.pth")
    call = {
        "backbone": "mobilenet_v3_small",
        "image_size": 16,
        "n_trials": 1,
        "epochs": 1,
        "storage": tmp_path / "s.journal",
        "show_progress_bar": False,
    }
    tune_finetune((PICTURES, SHADES), weights=tmp_path / "a.pth", **call)

    result = tune_finetune((PICTURES, SHADES), weights=tmp_path / "moved.pth", **call)

    assert len(result.study.trials) == 1
    for weights in (tmp_path / "other.pth", None):
        with pytest.raises(StudyMismatchError, match=r"weights '.pth file \w+', now"):
            tune_finetune((PICTURES, SHADES), weights=weights, **call)
    with pytest.raises(StudyMismatchError, match="backbone 'mobilenet_v3_small', now 'resnet18'"):
        tune_finetune((PICTURES, SHADES), weights=None, **call | {"backbone": "resnet18"})


def build_with_or_without(n_inputs, n_outputs, skip):
    assert isinstance(skip, bool)
    return nn.Sequential(nn.Identity() if skip else nn.Tanh(), nn.Linear(n_inputs, n_outputs))


def test_a_hyperparameter_of_ones_own_may_be_true_or_false():
    space = {"skip": [True, False]}
    result = tune_module(build_with_or_without, "iris", space=space, sampler="grid", **FAST)

    assert result.trials_dataframe()["params_skip"].tolist() == [True, False]
    with pytest.raises(ValueError, match="skip must be one of True, got False"):
        tune_module(build_with_or_without, "iris", space={"skip": True}, enqueue=[{"skip": False}])
