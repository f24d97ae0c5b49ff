"""What a study's trials say: which broke down, which were stopped, whether the best leads, and what
learning curves show: too short, impatient, over- or underfitted.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from objectives._messages import short
from tuner.diagnosis.evidence import Finding, jitter, noise, ranges
from tuner.storage.trial_attrs import PRUNED
from tuner.storage.view import StudyView

Costs: TypeAlias = npt.NDArray[np.float64]

_MANY = 0.1  # Share of the trials from which on breaking down is worth a finding.
_MIN_CASES = 2

_MIN_PRUNED = 5
_MIN_COMPLETE = 0.1  # Share of the trials that pruning is to leave complete.

# A search without a better trial in so much of its trials has stopped improving; TPE's first 10
# trials are random, and by chance the best of n lies in the first half every other time.
_STALLED, _MIN_STALLED = 0.5, 20

# "Mild" imbalance begins below 20% for the rarer of two classes (Google's Machine Learning Crash
# Course, "Imbalanced datasets"): 0.4 times an even share, which also serves for more classes.
_RARE = 0.4

# The end of a curve is its last tenth. More epochs may beat a best epoch in it.
_END = 0.1

# Patience is too short if that much of it passed before a clear improvement came after all (the
# next wait may have been just too long), or if the metric still rose by that many standard errors.
# None of 120 studies of 12 trials that ended on plateaus of pure noise has this finding.
_NEAR_MISS = 0.8
_STILL_BETTER = 2.0
_SHARE, _MIN_IMPATIENT = 0.25, 3

# valid_loss this far above its minimum, while train_loss falls, is what the Deep Learning Tuning
# Playbook calls problematic overfitting; the number is ours.
_RISE = 0.1
_LAST = 3  # Epochs whose mean tells where a loss ended.
_MIN_EPOCHS = 6
# A network that has taken away less than half of its first train_loss has learned little.
_HIGH = 0.5
# Losses this close leave no gap that regularisation could have to close.
_CLOSE = 0.05


def diverged(view: StudyView) -> Finding | None:
    """Many trials diverged; from which learning rate on, if it separates them.

    The rate that separates best sets the fewest trials on the wrong side: those below it that broke
    down, and those from it on that did not.
    """
    trials = view.ended
    broke = trials["stopped"].str.startswith(("diverged", "returned")) & (
        trials["state"] == "PRUNED"
    )
    n = int(broke.sum())
    if n < max(_MIN_CASES, _MANY * len(trials)):
        return None
    diverged = Finding(
        finding="many trials diverged",
        evidence=f"{n} of {len(trials)} trials ({n / len(trials):.0%})",
        advice="use smaller steps, or gradient clipping",
    )
    rates = [n for n in ranges(view) if n == "lr" or "learning_rate" in n]
    name = next((name for name in rates if f"params_{name}" in trials), None)
    if name is None:
        return diverged
    rate = trials[f"params_{name}"].astype("float64")
    pairs = pd.DataFrame({"rate": rate, "broke": broke}).dropna().sort_values("rate")
    below = pairs["broke"].cumsum() - pairs["broke"]
    fine_above = (~pairs["broke"])[::-1].cumsum()[::-1]
    cut = float(pairs["rate"].iloc[int((below + fine_above).to_numpy().argmin())])
    is_above = pairs["rate"] >= cut
    n_above, n_below = (int(pairs["broke"][part].sum()) for part in (is_above, ~is_above))
    n_from, n_under = int((rate >= cut).sum()), int((rate < cut).sum())
    evidence = (
        f"{diverged.evidence}: {n_above} of {n_from} from {name}={cut:.2g} on, {n_below} of "
        f"{n_under} below"
    )
    best = -np.inf if view.ranked.empty else float(view.ranked[f"params_{name}"].iloc[0])
    separates = 2 * n_above > n_from and n_above / n_from > 2 * n_below / max(n_under, 1)
    if not separates or best >= cut:
        advice = f"{name} alone does not explain it; look at the others"
        return replace(diverged, evidence=evidence, advice=advice)
    limit = max(float(f"{cut:.2g}"), best)
    return replace(
        diverged,
        evidence=evidence,
        advice=f"keep {name} below {limit:.2g}",
        hyperparameter=name,
        change=("cap", limit),
    )


def failed(view: StudyView) -> Finding | None:
    """Many trials ended with an error."""
    errors = view.ended["error"][view.ended["state"] == "FAIL"]
    if len(errors) < max(_MIN_CASES, _MANY * len(view.ended)):
        return None
    counts = errors.dropna().value_counts()
    commonest = f"; {counts.iloc[0]} with {counts.index[0]!r}" if len(counts) else ""
    return Finding(
        finding="many trials failed",
        evidence=f"{len(errors)} of {len(view.ended)} trials{commonest}",
        advice="repair the objective: a failed trial teaches the sampler nothing",
    )


def out_of_memory(view: StudyView) -> Finding | None:
    """Trials too large for the memory."""
    n = int((view.ended["stopped"] == "out of memory").sum())
    if not n:
        return None
    return Finding(
        finding="trials were too large for the memory",
        evidence=f"{n} of {len(view.ended)} trials",
        advice="lower the high end of batch_size or of the network's size",
    )


def pruned_too_early(view: StudyView) -> Finding | None:
    """Many trials were pruned before anything was complete to compare them with."""
    trials = view.ended
    pruned = (trials["state"] == "PRUNED") & trials["stopped"].str.startswith(PRUNED)
    complete = trials["state"] == "COMPLETE"
    before = int((pruned & ~complete.cummax()).sum())
    few = len(trials) >= _MIN_STALLED and complete.sum() < _MIN_COMPLETE * len(trials)
    if before < _MIN_PRUNED and not (few and pruned.sum() >= _MIN_PRUNED):
        return None
    return Finding(
        finding="too much is pruned",
        evidence=f"{int(complete.sum())} of {len(trials)} trials are complete, {before} were "
        "pruned before the first of them",
        advice="prune later (n_startup_trials, n_warmup_steps or min_resource of Optuna's "
        'pruners), or not: pruner="none"',
    )


def stalled(view: StudyView) -> Finding | None:
    """No new best, beyond noise, in the second half of the search."""
    trials = view.ended.reset_index(drop=True)
    if view.ranked.empty or len(trials) < _MIN_STALLED:
        return None
    error = noise(view)
    margin = 0.0 if error is None else error.value
    costs = trials["cost"].where(trials["state"] == "COMPLETE")
    last = int((costs.cummin().ffill() <= view.ranked["cost"].iloc[0] + margin).idxmax())
    since = len(trials) - 1 - last
    if since < max(_MIN_STALLED, _STALLED * len(trials)):
        return None
    return Finding(
        finding="the search stopped improving long ago",
        evidence=f"no better value, beyond noise, in the last {since} of {len(trials)} trials; "
        f"trial {trials['number'][last]} had {short(trials['value'][last])}",
        advice="stop here, or continue in the next space",
    )


def lead_within_noise(view: StudyView) -> Finding | None:
    """The best trial leads others by less than one standard error.

    The yardstick is the one-standard-error rule (Breiman et al. 1984; Hastie et al. 2009, 7.10).
    """
    error, best = noise(view), view.ranked.head(1)
    if error is None or best.empty:
        return None
    params = [f"params_{name}" for name in view.params] or None
    others = view.ranked.drop_duplicates(params).iloc[1:]
    ties = others[others["cost"] - best["cost"].iloc[0] <= error.value]
    if ties.empty:
        return None
    others_are = "1 configuration is" if len(ties) == 1 else f"{len(ties)} configurations are"
    return Finding(
        finding="the best trial leads by less than noise",
        evidence=f"{others_are} within {short(error.value)} of "
        f"{short(best['value'].iloc[0])}, {error.source}",
        advice=f"re-run the best with fresh seeds: result.confirm(k={min(len(ties) + 1, 5)}, "
        "seeds=5); of equals, take the smaller network",
    )


def imbalanced(view: StudyView) -> Finding | None:
    """Accuracy is tuned although a class is rare in the training split."""
    data = getattr(view.objective, "data", None)
    classes = getattr(data, "classes", None)
    if data is None or classes is None or view.metric != "accuracy":
        return None
    counts = np.bincount(np.asarray(data.train.y), minlength=len(classes))
    shares = counts / counts.sum()
    if shares.min() >= _RARE / len(classes):
        return None
    rare, common = classes[shares.argmin()], classes[shares.argmax()]
    return Finding(
        finding="accuracy is tuned although the classes are imbalanced",
        evidence=f"class {str(rare)!r} has {shares.min():.1%} of the training rows; always "
        f"saying {str(common)!r} is right for {shares.max():.1%}",
        advice='tune metric="balanced_accuracy", "roc_auc" or "f1_macro", perhaps with '
        'class_weight="balanced"',
    )


def under_trained(view: StudyView) -> Finding | None:
    """The best trial had its best epoch at the end of the budget."""
    whole = view.ranked[view.ranked["stopped"] == "epochs"].dropna(
        subset=["best_epoch", "epochs_run"]
    )
    ran = whole["epochs_run"].astype("int64")
    at_end = whole["best_epoch"].astype("int64") >= ran - np.ceil(_END * ran)
    of_best = whole[at_end & whole["number"].isin(view.best_row["number"])]
    if of_best.empty:
        return None
    best, epochs = of_best.iloc[0], int(of_best["epochs_run"].iloc[0])
    return Finding(
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
    curves = {n: view.curves.costs(n) for n in complete["number"] if n in view.curves}
    rising = sum(_was_rising(curves[n], patience) for n in complete["number"][stopped])
    near = sum(_waited(costs, _NEAR_MISS * patience) for costs in curves.values())
    if max(rising, near) < max(_MIN_IMPATIENT, _SHARE * len(complete)):
        return None
    return Finding(
        finding="patience is too short",
        evidence=f"of the better half of the complete trials, {len(complete)}, {rising} were "
        f"still improving when patience={patience} ended them and {near} found a better epoch "
        f"only after {_NEAR_MISS:.0%} of it or more",
        advice=f"wait longer: patience={2 * patience}",
    )


def _was_rising(costs: Costs, patience: int) -> bool:
    """Whether the second half of the wait was better than the first by more than jitter explains.

    No epoch of it beat the best one, which may have been a lucky spike.
    """
    wait = costs[~np.isnan(costs)][-patience:]
    half = len(wait) // 2
    if half < 2:
        return False
    error = np.std(np.diff(wait), ddof=1) / math.sqrt(2) * math.sqrt(2 / half)
    gain = wait[:half].mean() - wait[-half:].mean()
    return bool(gain > _STILL_BETTER * error and gain > 0)


def _waited(costs: Costs, n_epochs: float) -> bool:
    """Whether so many epochs lay between a best epoch so far and the next that is better by more
    than jitter.
    """
    before = np.fmin.accumulate(np.concatenate([[np.inf], costs[:-1]]))
    better = np.flatnonzero(costs < before)
    late = better[1:][np.diff(better) >= n_epochs]
    return bool(len(late) and (before[late] - costs[late] > (jitter(costs) or 0.0)).any())


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
