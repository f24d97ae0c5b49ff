"""What a study's trials say: which broke down, which were stopped, and whether the best leads."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tuner.diagnosis.evidence import Evidence, Finding, short
from tuner.storage.trial_attrs import was_pruned

_MANY = 0.1  # Share of the trials from which on breaking down is worth a finding.
_MIN_CASES = 2

_MIN_PRUNED = 5
_MIN_COMPLETE = 0.1  # Share of the trials that pruning is to leave complete.

# A search that found nothing better in so much of its trials has stopped improving; TPE's first 10
# trials are random, and by chance the best of n lies in the first half every other time.
_STALLED, _MIN_STALLED = 0.5, 20

# "Mild" imbalance begins below 20% for the rarer of two classes (Google's Machine Learning Crash
# Course, "Imbalanced datasets"): 0.4 times an even share, which also serves for more classes.
_RARE = 0.4


def diverged(evidence: Evidence) -> list[Finding]:
    """Many trials diverged; where the learning rate tells them apart, from which one on."""
    trials = evidence.trials
    broke = trials["stopped"].str.startswith(("diverged", "returned")) & (
        trials["state"] == "PRUNED"
    )
    n = int(broke.sum())
    if n < max(_MIN_CASES, _MANY * len(trials)):
        return []
    evidence_text = f"{n} of {len(trials)} trials ({n / len(trials):.0%})"
    name = _learning_rate(evidence)
    if name is None:
        advice = "use smaller steps, or gradient clipping"
        return [_diverged(evidence_text, advice)]
    rate = trials[f"params_{name}"].astype("float64")
    cut, n_above, n_below = _threshold(rate, broke)
    above, below = int((rate >= cut).sum()), int((rate < cut).sum())
    evidence_text += f": {n_above} of {above} from {name}={cut:.2g} on, {n_below} of {below} below"
    best = -np.inf if evidence.complete.empty else evidence.complete[f"params_{name}"].iloc[0]
    separates = 2 * n_above > above and n_above / above > 2 * n_below / max(below, 1)
    if not separates or best >= cut:
        return [_diverged(evidence_text, f"{name} alone does not explain it; look at the others")]
    limit = max(float(f"{cut:.2g}"), float(best))
    return [_diverged(evidence_text, f"keep {name} below {limit:.2g}", name, limit)]


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


def _learning_rate(evidence: Evidence) -> str | None:
    names = [name for name in evidence.ranges if name == "lr" or "learning_rate" in name]
    return next((name for name in names if f"params_{name}" in evidence.trials), None)


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


def failed(evidence: Evidence) -> list[Finding]:
    """Many trials ended with an error."""
    errors = evidence.trials["error"][evidence.trials["state"] == "FAIL"]
    if len(errors) < max(_MIN_CASES, _MANY * len(evidence.trials)):
        return []
    counts = errors.dropna().value_counts()
    commonest = f"; {counts.iloc[0]} with {counts.index[0]!r}" if len(counts) else ""
    return [
        Finding(
            code="failed",
            finding="many trials failed",
            evidence=f"{len(errors)} of {len(evidence.trials)} trials{commonest}",
            advice="mend the objective: a failed trial is lost, and the sampler learns nothing "
            "from it",
        )
    ]


def out_of_memory(evidence: Evidence) -> list[Finding]:
    """Trials too large for the memory there is."""
    n = int((evidence.trials["stopped"] == "out of memory").sum())
    if not n:
        return []
    return [
        Finding(
            code="out_of_memory",
            finding="trials were too large for the memory",
            evidence=f"{n} of {len(evidence.trials)} trials",
            advice="lower the high end of batch_size or of the network's size",
        )
    ]


def pruned_too_early(evidence: Evidence) -> list[Finding]:
    """Many trials were pruned before anything was complete to compare them with."""
    trials = evidence.trials
    pruned = (trials["state"] == "PRUNED") & trials["stopped"].fillna("").map(was_pruned)
    complete = trials["state"] == "COMPLETE"
    before = int((pruned & ~complete.cummax()).sum())
    few = len(trials) >= _MIN_STALLED and complete.sum() < _MIN_COMPLETE * len(trials)
    if before < _MIN_PRUNED and not (few and pruned.sum() >= _MIN_PRUNED):
        return []
    return [
        Finding(
            code="pruned_too_early",
            finding="too much is pruned",
            evidence=f"{int(complete.sum())} of {len(trials)} trials are complete, {before} were "
            "pruned before the first of them",
            advice="prune later (n_startup_trials, n_warmup_steps or min_resource of Optuna's "
            'pruners), or not: pruner="none"',
        )
    ]


def stalled(evidence: Evidence) -> list[Finding]:
    """No new best, beyond noise, in the second half of the search."""
    trials = evidence.trials.reset_index(drop=True)
    if evidence.complete.empty or len(trials) < _MIN_STALLED:
        return []
    noise = 0.0 if evidence.noise is None else evidence.noise.value
    costs = trials["cost"].where(trials["state"] == "COMPLETE")
    last = int((costs.cummin().ffill() <= evidence.complete["cost"].iloc[0] + noise).idxmax())
    since = len(trials) - 1 - last
    if since < max(_MIN_STALLED, _STALLED * len(trials)):
        return []
    return [
        Finding(
            code="stalled",
            finding="the search stopped improving long ago",
            evidence=f"no better value, beyond noise, in the last {since} of {len(trials)} trials; "
            f"trial {trials['number'][last]} had {short(trials['value'][last])}",
            advice="stop here, or go on in the next space",
        )
    ]


def lead_within_noise(evidence: Evidence) -> list[Finding]:
    """The best trial leads others by less than one standard error.

    The yardstick is the one-standard-error rule (Breiman et al. 1984; Hastie et al. 2009, 7.10).
    """
    noise, best = evidence.noise, evidence.complete.head(1)
    if noise is None or best.empty:
        return []
    others = evidence.complete.drop_duplicates(_params(evidence)).iloc[1:]
    ties = others[others["cost"] - best["cost"].iloc[0] <= noise.value]
    if ties.empty:
        return []
    others_are = "1 configuration is" if len(ties) == 1 else f"{len(ties)} configurations are"
    return [
        Finding(
            code="lead_within_noise",
            finding="the best trial leads by less than noise",
            evidence=f"{others_are} within {short(noise.value)} of "
            f"{short(best['value'].iloc[0])}, {noise.source}",
            advice=f"re-run the best with fresh seeds: result.confirm(k={min(len(ties) + 1, 5)}, "
            "seeds=5); of equals, take the smaller network",
        )
    ]


def _params(evidence: Evidence) -> list[str] | None:
    names = [name for name in map(str, evidence.complete) if name.startswith("params_")]
    return names or None


def imbalanced(evidence: Evidence) -> list[Finding]:
    """Accuracy is tuned although a class is rare, as the training split alone tells."""
    data = getattr(evidence.objective, "data", None)
    classes = getattr(data, "classes", None)
    if data is None or classes is None or evidence.metric != "accuracy":
        return []
    counts = np.bincount(np.asarray(data.train.y), minlength=len(classes))
    shares = counts / counts.sum()
    if shares.min() >= _RARE / len(classes):
        return []
    rare, common = classes[shares.argmin()], classes[shares.argmax()]
    return [
        Finding(
            code="imbalanced",
            finding="accuracy is tuned although the classes are imbalanced",
            evidence=f"class {str(rare)!r} has {shares.min():.1%} of the training rows; always "
            f"saying {str(common)!r} is right for {shares.max():.1%}",
            advice='tune metric="balanced_accuracy", "roc_auc" or "f1_macro", perhaps with '
            'class_weight="balanced"',
        )
    ]
