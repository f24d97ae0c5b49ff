"""What a study's trials say: which broke down, which were stopped, and whether the best leads."""

from __future__ import annotations

import numpy as np
import pandas as pd

from objectives._messages import short
from tuner.diagnosis.evidence import Finding, noise, ranges
from tuner.storage.trial_attrs import PRUNED
from tuner.storage.view import StudyView

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


def diverged(view: StudyView) -> Finding | None:
    """Many trials diverged; from which learning rate on, if it separates them."""
    trials = view.ended
    broke = trials["stopped"].str.startswith(("diverged", "returned")) & (
        trials["state"] == "PRUNED"
    )
    n = int(broke.sum())
    if n < max(_MIN_CASES, _MANY * len(trials)):
        return None
    counts = f"{n} of {len(trials)} trials ({n / len(trials):.0%})"
    name = _learning_rate(view)
    if name is None:
        advice = "use smaller steps, or gradient clipping"
        return _diverged(counts, advice)
    rate = trials[f"params_{name}"].astype("float64")
    cut, n_above, n_below = _threshold(rate, broke)
    above, below = int((rate >= cut).sum()), int((rate < cut).sum())
    counts += f": {n_above} of {above} from {name}={cut:.2g} on, {n_below} of {below} below"
    best = -np.inf if view.ranked.empty else view.ranked[f"params_{name}"].iloc[0]
    separates = 2 * n_above > above and n_above / above > 2 * n_below / max(below, 1)
    if not separates or best >= cut:
        return _diverged(counts, f"{name} alone does not explain it; look at the others")
    limit = max(float(f"{cut:.2g}"), float(best))
    return _diverged(counts, f"keep {name} below {limit:.2g}", name, limit)


def _diverged(
    evidence: str, advice: str, name: str | None = None, limit: float | None = None
) -> Finding:
    return Finding(
        code="diverged",
        finding="many trials diverged",
        evidence=evidence,
        advice=advice,
        hyperparameter=name,
        change=None if limit is None else ("cap", limit),
    )


def _learning_rate(view: StudyView) -> str | None:
    names = [name for name in ranges(view) if name == "lr" or "learning_rate" in name]
    return next((name for name in names if f"params_{name}" in view.ended), None)


def _threshold(rate: pd.Series, broke: pd.Series) -> tuple[float, int, int]:
    """The rate that separates best, and how many broke down from it on and below it.

    Best is what sets the fewest trials on the wrong side: those below that broke down, and those
    above that did not.
    """
    pairs = pd.DataFrame({"rate": rate, "broke": broke}).dropna().sort_values("rate")
    below = pairs["broke"].cumsum() - pairs["broke"]
    fine_above = (~pairs["broke"])[::-1].cumsum()[::-1]
    row = int((below + fine_above).to_numpy().argmin())
    cut = float(pairs["rate"].iloc[row])
    is_above = pairs["rate"] >= cut
    return cut, int(pairs["broke"][is_above].sum()), int(pairs["broke"][~is_above].sum())


def failed(view: StudyView) -> Finding | None:
    """Many trials ended with an error."""
    errors = view.ended["error"][view.ended["state"] == "FAIL"]
    if len(errors) < max(_MIN_CASES, _MANY * len(view.ended)):
        return None
    counts = errors.dropna().value_counts()
    commonest = f"; {counts.iloc[0]} with {counts.index[0]!r}" if len(counts) else ""
    return Finding(
        code="failed",
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
        code="out_of_memory",
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
        code="pruned_too_early",
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
        code="stalled",
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
        code="lead_within_noise",
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
        code="imbalanced",
        finding="accuracy is tuned although the classes are imbalanced",
        evidence=f"class {str(rare)!r} has {shares.min():.1%} of the training rows; always "
        f"saying {str(common)!r} is right for {shares.max():.1%}",
        advice='tune metric="balanced_accuracy", "roc_auc" or "f1_macro", perhaps with '
        'class_weight="balanced"',
    )
