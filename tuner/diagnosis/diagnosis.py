"""`diagnose`: what a study shows, the evidence in numbers, what to do, and the next search space.

The practical tips of the tuning literature as code. Each finding is a function of a `StudyView`, in
`space_findings` or `trial_findings`, beside its thresholds and their sources.
"""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.distributions import FloatDistribution, IntDistribution

from tuner.diagnosis import space_findings, trial_findings
from tuner.diagnosis.evidence import Finding
from tuner.storage.view import StudyView, view_of

if TYPE_CHECKING:
    import optuna

    from objectives.objective import Objective


COLUMNS = ("finding", "evidence", "advice", "hyperparameter", "code")

# What spoils the study as a whole comes first.
FINDINGS: tuple[Callable[[StudyView], Finding | list[Finding] | None], ...] = (
    trial_findings.failed,
    trial_findings.out_of_memory,
    trial_findings.diverged,
    trial_findings.imbalanced,
    trial_findings.pruned_too_early,
    space_findings.at_an_edge,
    trial_findings.under_trained,
    trial_findings.impatient,
    trial_findings.overfitting,
    trial_findings.underfitting,
    trial_findings.lead_within_noise,
    space_findings.no_difference,
    space_findings.too_few_trials,
    trial_findings.stalled,
    space_findings.duplicates,
)
_WIDTH = 100


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What a study shows; in a notebook it displays as a table.

    Args:
        title: the study and its counts, in words.
        findings: one row a finding, with the columns ``finding, evidence, advice, hyperparameter,
            code``, all text; ``hyperparameter`` is empty where a finding is about the whole study,
            ``code`` is a short name that does not change.
        space: the next search space, ready to pass on as ``tune_mlp(..., space=diagnosis.space)``.
    """

    title: str
    findings: pd.DataFrame
    space: dict[str, Any]

    @property
    def headline(self) -> str:
        """The study, and how many findings there are."""
        n = len(self.findings)
        return f"{self.title}: {n or 'no'} finding{'s' if n != 1 else ''}"

    def to_json(self) -> str:
        """The same as one JSON object; ranges are written as ``tuner mlp --space`` reads them."""
        rows = self.findings.astype(object).where(self.findings.notna(), None)
        space = {name: _plain(entry) for name, entry in self.space.items()}
        return json.dumps(
            {"study": self.title, "findings": rows.to_dict("records"), "space": space}
        )

    def __repr__(self) -> str:
        """Return the findings as text."""
        lines = [self.headline]
        for number, row in enumerate(self.findings.to_dict("records"), start=1):
            advice = row["advice"][:1].upper() + row["advice"][1:]
            text = textwrap.fill(f"{row['evidence']}. {advice}.", _WIDTH - 3)
            lines += [f"{number}. {row['finding']}", textwrap.indent(text, "   ")]
        return "\n".join([*lines, f"next space: {self.space}"])

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):  # Else sentences end at 50 letters.
            table = self.findings[["finding", "evidence", "advice"]].to_html(index=False, border=0)
        space = f"next space: <code>{html.escape(str(self.space))}</code>"
        shown = table if len(self.findings) else ""
        return f"<p><b>{html.escape(self.headline)}</b></p>{shown}<p>{space}</p>"


def diagnose(study: optuna.Study | StudyView, objective: Objective | None = None) -> Diagnosis:
    """Say what a study shows and what to do next; the test split is not opened.

    Args:
        study: any study with one direction, made by this package or by Optuna alone, or a view of
            one; what it does not record, such as losses, is not judged.
        objective: what was tuned, if it is at hand: its training split has the class shares, its
            space the legal ends of ranges.

    Returns:
        A `Diagnosis`: a table of findings, the most pressing first, and the next search space.

    Raises:
        ValueError: if the study has several directions.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(study_name="demo")
        >>> line = {"x": optuna.distributions.FloatDistribution(1.0, 10.0)}
        >>> for x in (1.0, 1.5, 2.0, 5.0, 9.0):
        ...     study.add_trial(
        ...         optuna.trial.create_trial(value=x, params={"x": x}, distributions=line)
        ...     )
        >>> diagnosis = diagnose(study)
        >>> diagnosis.findings["code"].tolist()
        ['at_an_edge', 'too_few_trials']
        >>> diagnosis.space
        {'x': (0.0, 10.0)}
    """
    view = view_of(study, objective)
    findings: list[Finding] = []
    rows = []
    for find in FINDINGS:
        result = find(view)
        new = [result] if isinstance(result, Finding) else result or []
        findings += new
        rows += [asdict(finding) | {"code": find.__name__} for finding in new]
    return Diagnosis(
        title=f"study {view.study_name}, {view.counts or 'no trials yet'}",
        findings=pd.DataFrame(rows, columns=list(COLUMNS), dtype="str"),
        space=space_findings.next_space(view, findings),
    )


def _plain(entry: Any) -> Any:
    match entry:
        case (low, high) if isinstance(entry, tuple):
            return {"low": low, "high": high}
        case FloatDistribution() | IntDistribution():
            return {"low": entry.low, "high": entry.high, "log": entry.log}
    return entry
