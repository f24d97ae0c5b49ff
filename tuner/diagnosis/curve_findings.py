"""What the learning curves of a study say: too short, impatient, over- or underfitted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from tuner.diagnosis.evidence import Finding, jitter
from tuner.storage.view import StudyView

# The end of a curve is its last tenth. More epochs may beat a best epoch in it.
_END = 0.1

# Patience is too short if that much of it passed before a clear improvement came after all (the
# next wait may have been just too long), or if the metric still rose by that many standard errors.
# None of 120 studies of 12 trials that ended on plateaus of pure noise has this finding.
_NEAR_MISS = 0.8
_STILL_BETTER = 2.0
_SHARE, _MIN_CASES = 0.25, 3

# valid_loss this far above its minimum, while train_loss falls, is what the Deep Learning Tuning
# Playbook calls problematic overfitting; the number is ours.
_RISE = 0.1
_LAST = 3  # Epochs whose mean tells where a loss ended.
_MIN_EPOCHS = 6
# A network that has taken away less than half of its first train_loss has learned little.
_HIGH = 0.5
# Losses this close leave no gap that regularisation could have to close.
_CLOSE = 0.05


def under_trained(view: StudyView) -> Finding | None:
    """The best trial had its best epoch at the end of the budget."""
    whole = view.ranked[view.ranked["stopped"] == "epochs"].dropna(
        subset=["best_epoch", "epochs_run"]
    )
    ran = whole["epochs_run"].astype("int64")
    at_end = whole["best_epoch"].astype("int64") >= ran - np.ceil(_END * ran)
    if not len(whole) or int(view.ranked["number"].iloc[0]) not in set(whole["number"][at_end]):
        return None
    best, epochs = whole.iloc[0], int(ran.iloc[0])
    return Finding(
        code="under_trained",
        finding="the best trial was still improving when its epochs ended",
        evidence=f"best epoch {int(best['best_epoch'])} of 0 to {epochs - 1}; so it is in "
        f"{int(at_end.sum())} of {len(whole)} trials that ran all their epochs",
        advice=f"train longer: epochs={2 * epochs}",
        hyperparameter="epochs" if "epochs" in view.space else None,
        change=("fix", 2 * epochs) if "fixed" in view.space.get("epochs", ()) else None,
    )


def impatient(view: StudyView) -> Finding | None:
    """Trials that patience ended while they were still getting better, or others nearly so."""
    patience = view.record.get("patience")
    if not patience or view.ranked.empty:
        return None
    complete = view.ranked.head(math.ceil(len(view.ranked) / 2))
    stopped = complete["stopped"] == "patience"
    curves = {n: view.curves[n] for n in complete["number"] if n in view.curves}
    rising = sum(_was_rising(curves[n], patience) for n in complete["number"][stopped])
    near = sum(_longest_wait(curve) >= _NEAR_MISS * patience for curve in curves.values())
    if max(rising, near) < max(_MIN_CASES, _SHARE * len(complete)):
        return None
    return Finding(
        code="impatient",
        finding="patience is too short",
        evidence=f"of the better half of the complete trials, {len(complete)}, {rising} were "
        f"still improving when patience={patience} ended them and {near} found a better epoch "
        f"only after {_NEAR_MISS:.0%} of it or more",
        advice=f"wait longer: patience={2 * patience}",
    )


def _was_rising(curve: pd.DataFrame, patience: int) -> bool:
    """Whether the second half of the wait was better than the first by more than jitter explains.

    No epoch of it beat the best one, which may have been a lucky spike.
    """
    wait = curve["cost"].dropna().tail(patience).to_numpy()
    half = len(wait) // 2
    if half < 2:
        return False
    error = np.std(np.diff(wait), ddof=1) / math.sqrt(2) * math.sqrt(2 / half)
    gain = wait[:half].mean() - wait[-half:].mean()
    return bool(gain > _STILL_BETTER * error and gain > 0)


def _longest_wait(curve: pd.DataFrame) -> int:
    """Epochs from one best epoch so far to the next that is better by more than jitter, at most."""
    costs = curve["cost"].to_numpy()
    before = np.fmin.accumulate(np.concatenate([[np.inf], costs[:-1]]))
    better = np.flatnonzero(costs < before)
    clear = before[better[1:]] - costs[better[1:]] > (jitter(curve) or 0.0)
    return int(np.diff(better)[clear].max(initial=0))


def overfitting(view: StudyView) -> Finding | None:
    """The best trial's validation loss rises after its minimum while its train loss falls."""
    losses = _losses(view)
    if losses is None:
        return None
    least = int(losses["valid_loss"].to_numpy().argmin())
    lowest, train_then = losses[["valid_loss", "train_loss"]].iloc[least]
    end, train_end = losses[["valid_loss", "train_loss"]].tail(_LAST).mean()
    rises = end - lowest > _RISE * abs(lowest) and least < len(losses) - _LAST
    if not rises or train_end >= train_then:
        return None
    return Finding(
        code="overfitting",
        finding="the best trial overfits",
        evidence=f"valid_loss rose from {lowest:.3g} at epoch {least} to {end:.3g}, while "
        f"train_loss fell from {train_then:.3g} to {train_end:.3g}",
        advice="regularise more (dropout, weight_decay), shrink the network, or get more "
        "rows; the weights kept are the best epoch's all the same",
    )


def underfitting(view: StudyView) -> Finding | None:
    """The best trial's losses are as high as each other, and high or still falling."""
    losses = _losses(view)
    if losses is None:
        return None
    train, valid = losses["train_loss"], losses["valid_loss"]
    end, valid_end = train.tail(_LAST).mean(), valid.tail(_LAST).mean()
    close = valid_end - end <= _CLOSE * abs(end)
    left = end / train.iloc[0] if train.iloc[0] > 0 else 0.0
    n_last = max(_LAST, math.ceil(_END * len(losses)))
    falls = [
        loss.iloc[-2 * n_last : -n_last].mean() - loss.tail(n_last).mean()
        for loss in (train, valid)
    ]
    total = max(train.iloc[0] - train.min(), 0.0)
    falling = all(fall > _CLOSE * total > 0 for fall in falls)
    if not close or not (left > _HIGH or falling):
        return None
    why = "both still fall" if falling else f"train_loss has kept {left:.0%} of its first value"
    return Finding(
        code="underfitting",
        finding="the best trial underfits",
        evidence=f"train_loss {end:.3g} and valid_loss {valid_end:.3g} leave no gap, and {why}",
        advice="try larger networks, less dropout and weight_decay, or more epochs; if none "
        "of it helps, what is left is noise in the data",
    )


def _losses(view: StudyView) -> pd.DataFrame | None:
    curve = view.best_curve
    if curve is None:
        return None
    losses = curve[["valid_loss", "train_loss"]].dropna()
    return losses if len(losses) >= _MIN_EPOCHS else None
