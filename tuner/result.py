"""What a search gives back: `TuningResult`."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage

from objectives._messages import short
from tuner import tables
from tuner.storage.artifacts import Artifacts, ArtifactStore, check_artifact_store, default_folder
from tuner.storage.backends import storage_errors
from tuner.storage.call import recorded_call
from tuner.storage.chosen import (
    alone,
    choose,
    in_words,
    n_complete,
    record_choice,
    stored_choice,
)
from tuner.storage.study import load_study
from tuner.storage.trial_attrs import (
    CALL,
    OPENINGS,
    best_confirmed,
    confirmed_values,
    count_states,
    finished,
    has_complete,
    records,
    study_attr,
    study_metric,
    study_record,
    trained_as,
    trial_params,
)
from tuner.storage.view import view_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from objectives.models.ensemble import Choice, Library
    from objectives.models.intervals import TestScore
    from objectives.models.mlp import FittedModel
    from objectives.objective import NetworkObjective
    from tuner.diagnosis.confirm import Finals
    from tuner.diagnosis.diagnosis import Diagnosis


class TuningResult:
    """The outcome of a search; everything in it comes from the study, which is a plain Optuna
    study.

    It can be pickled, such as to come back from a Dask or joblib worker, where its objective can:
    the study's storage is opened anew where it arrives, a study in memory travels whole, and
    ``callbacks`` stay behind.

    Args:
        study: with all trials.
        objective: what was tuned; None where ``rebuild`` gives it.
        model: the best trial's fitted model if this process has trained it, with the trial's
            number.
        library: the best trials of this process and of its executor's workers, from which `model`
            is chosen.
        finals: the best trials, trained again, from which `model` is chosen where they are of all
            trials.
        continue_search: runs one more configuration in the study.
        artifacts: where the best trial's model was kept, if anywhere.
        rebuild: makes the call of the study again, for what needs the objective.
        build: the function that made the modules of a study of `tuner.tune_module`.

    Attributes:
        study: the `optuna.Study`; nothing of Optuna is hidden.
    """

    def __init__(
        self,
        *,
        study: optuna.Study,
        objective: Any,
        model: tuple[int, FittedModel] | None,
        library: Library | None = None,
        finals: Finals | None = None,
        continue_search: Callable[[dict[str, Any]], tuple[int, FittedModel] | None] | None = None,
        artifacts: Artifacts | None = None,
        rebuild: Callable[[], TuningResult] | None = None,
        build: Callable[..., nn.Module] | None = None,
    ) -> None:
        self.study, self._objective = study, objective
        self._model, self._continue = model, continue_search
        self._artifacts = Artifacts(None) if artifacts is None else artifacts
        self._rebuild, self._build = rebuild, build
        self._library, self._finals = library, finals
        self._chosen: tuple[int, Choice] | None = None  # and of how many complete trials

    @property
    def objective(self) -> Any:
        """The objective; under plain Optuna it gives the same trials.

        Raises:
            ValueError: for a loaded result whose call cannot be made again from what is stored.
        """
        if self._objective is None and self._rebuild is not None:
            same = self._rebuild()
            self._objective, self._continue = same._objective, same._continue
            self._library, self._finals = same._library, same._finals
        return self._objective

    @property
    def best_trial(self) -> optuna.trial.FrozenTrial:
        """The complete trial with the best value or, where the best ones were trained again, with
        the best confirmed value. Optuna's ``study.best_trial`` goes by the values of the search.

        Raises:
            ValueError: if no trial is complete.
        """
        if not has_complete(self.study):
            raise ValueError(
                "best_trial must be a complete trial, got none so far; raise n_trials or timeout"
            )
        confirmed = best_confirmed(self.study.user_attrs, study_metric(self.study)[1])
        return self.study.best_trial if confirmed is None else self.study.trials[confirmed]

    @property
    def default_trial(self) -> optuna.trial.FrozenTrial | None:
        """The first complete trial of the default configuration; None if none ran it."""
        return view_of(self.study, self._objective).default_trial

    @property
    def best_params(self) -> dict[str, Any]:
        """The best trial's configuration, fixed hyperparameters included."""
        return trial_params(self.best_trial)

    @property
    def best_value(self) -> float:
        """The best trial's value in the search: the metric on the validation split at its best
        epoch.
        """
        value = self.best_trial.value
        assert value is not None, "a complete trial has a value"
        return value

    @property
    def confirmed_value(self) -> float | None:
        """What the best trial was worth when it was trained again, see ``confirm``: the mean over
        folds; None if it was not.
        """
        confirmed = confirmed_values(self.study.user_attrs).get(self.best_trial.number)
        return None if confirmed is None else confirmed.mean

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 0, at which the best trial had its value.

        Raises:
            ValueError: if no trial is complete, or the objective reports no epochs.
        """
        epoch = records(self.best_trial).get("best_epoch")
        if epoch is None:
            raise ValueError("best_epoch must be of an objective with epochs, got a plain function")
        return int(epoch)

    @property
    def model(self) -> FittedModel:
        """What predicts: the best trial's model or, where that is better on held-out rows, an
        ensemble of trials, with a temperature where that is a sure gain. Of the trials of another
        process, unless a worker of the call's executor trained them, only the best one and what an
        earlier call has chosen take part.
        """
        return self._choice().model

    def ensemble_weights(self) -> pd.DataFrame:
        """Return the trials in `model`, the heaviest first: trial, weight and params_<name>."""
        from objectives.models.held_out import weights_dataframe

        weights, trials = self._choice().weights, self.study.get_trials(deepcopy=False)
        params = [trial_params(trials[number]) for number in weights]
        return weights_dataframe(list(weights.values()), list(weights), params)

    def comparison(self) -> str:
        """Say how `model` does beside the default configuration; empty where it is not known."""
        return in_words(self._choice(), *study_metric(self.study), self.default_trial)

    def keep_chosen(self) -> None:
        """Record in the study what `model` is, and keep it if it is not the best trial's."""
        is_new = self._library or (self._finals is not None and self._finals.are_trained)
        if not (is_new and has_complete(self.study)):
            return
        choice = self._choice()
        record_choice(self.study, choice)
        if self._artifacts:
            own = None if choice.model is self.best_model else choice.model
            self._artifacts.keep_chosen(self.study, own)

    def _choice(self) -> Choice:
        n = n_complete(self.study)
        if self._chosen is None or self._chosen[0] != n:
            self._chosen = n, self._choose(n)
        return self._chosen[1]

    @property
    def judge(self) -> Any:
        """The objective that judges `model`: by folds where the best trials were trained again."""
        objective, finals = self.objective, self._current_finals
        return objective if finals is None else finals.judge(self.study)

    @property
    def _current_finals(self) -> Finals | None:
        """Finals of all trials, not of fewer."""
        finals = self._finals
        return finals if finals is not None and finals.are_of(self.study) else None

    def _choose(self, n: int) -> Choice:
        finals = self._current_finals
        if finals is not None and finals.are_trained:
            return finals.choose(self.study)
        stored = stored_choice(self.study, self._artifacts, self._load)
        if not self._library:
            if stored is not None and stored.n_complete == n:
                return stored.choice
            if finals is not None:
                return finals.choose(self.study)
            return alone(self.study, self.best_trial.number, self.best_model)
        members = {} if stored is None else stored.members
        if self.best_trial.number not in self._library:
            members[self.best_trial.number] = self.best_model
        return choose(self.study, self._library, self.objective, members, self.best_trial.number)

    @property
    def best_model(self) -> FittedModel:
        """The best trial's weights at its best epoch, preprocessing included.

        Where another process trained the best trial, the model that it kept with the study is
        loaded. If it kept none, the trial is trained once more from its seed, which gives the same.

        Raises:
            TypeError: if the objective is a plain function, which keeps no model.
        """
        best = self.best_trial
        if self._model is None or self._model[0] != best.number:
            kept = None if self._library is None else self._library.model_of(best.number)
            kept = self._artifacts.model(best, self._load) if kept is None else kept
            self._model = (best.number, self.model_of(best.number) if kept is None else kept)
        return self._model[1]

    def model_of(self, number: int) -> FittedModel:
        """Train trial ``number`` once more from its seed and return its model, with its best
        epoch's weights.

        Raises:
            TypeError: if the objective is a plain function, which keeps no model.
            ValueError: if there is no such trial, or none of its epochs has a value.
        """
        objective = self._with_cohorts("model")
        trials = {trial.number: trial for trial in finished(self.study)}
        if number not in trials or "best_epoch" not in records(trials[number]):
            raise ValueError(
                f"number must be a trial with a best epoch, got {number}; see trials_dataframe()"
            )
        trial = trials[number]
        seed, number = trained_as(self.study, trial)
        cohort = objective.cohort(seed=seed)
        cohort.add(number, trial_params(trial))
        for _ in range(int(records(trial)["best_epoch"]) + 1):
            cohort.train_epoch()
        model: FittedModel = cohort.model(number)
        return model

    def refit(self) -> FittedModel:
        """Train the best configuration on training and validation rows, for the best number of
        epochs.

        The rows that chose the configuration then help to fit it; how good it is only the test
        split can say.
        """
        objective, epochs = self._with_cohorts("refit"), self.best_epoch + 1
        seed, number = trained_as(self.study, self.best_trial)
        return objective.refit(self.best_params, epochs=epochs, seed=seed, number=number)

    def test_score(self, model: FittedModel | None = None) -> TestScore:
        """Open the test split and return the metric on it; each opening is recorded in the study.

        Args:
            model: the model to score; by default `model`.
        """
        from objectives.models.intervals import score_test  # loads torch and scipy

        self._with_cohorts("test_score")
        model = self.model if model is None else model
        score = score_test(model, self.objective.data.open_test(), self.objective.metric)
        numbers = {name: getattr(score, name) for name in ("value", "low", "high", "n")}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"trial": self.best_trial.number, **numbers, "at": now}
        openings = study_attr(self.study.user_attrs, OPENINGS) or []
        self.study.set_user_attr(OPENINGS, [*openings, entry])
        return score

    def try_params(self, **params: Any) -> TuningResult:
        """Run one more trial by hand: the best configuration with ``params`` in place of its own
        values.

        The trial lands in the same study and tables as all others, and the sampler learns from it.

        Raises:
            ValueError: for an unknown hyperparameter or an impossible value.
        """
        base = self.best_params if has_complete(self.study) else {}
        assert self.objective is not None, "it brings what continues the search"
        assert self._continue is not None
        trained = self._continue({**base, **params})
        self._model = self._model if trained is None else trained
        if self._finals is not None:
            self._finals.run(self.study)
        self.keep_chosen()
        return self

    def trials_dataframe(self) -> pd.DataFrame:
        """Return one row a trial, see `tuner.tables.trials_dataframe`."""
        return tables.trials_dataframe(self.study)

    def curves_dataframe(self) -> pd.DataFrame:
        """Return one row a trial and epoch, see `tuner.tables.curves_dataframe`."""
        return tables.curves_dataframe(self.study)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the trial table to a file, see `tuner.tables.export`."""
        tables.export(view_of(self.study), path)

    def plot(self, kind: str = "overview", *, width: str | float | None = None) -> Figure:
        """Draw the study on one page, or one figure of it, see `tuner.plots.figures.draw`."""
        from tuner.plots.figures import draw

        if kind != "predictions" or not has_complete(self.study):
            return draw(self.study, kind, width=width)
        return draw(self.study, kind, model=self.model, objective=self.judge, width=width)

    def diagnose(self) -> Diagnosis:
        """Say what the study shows and what to do next, see `tuner.diagnose`."""
        from tuner.diagnosis.diagnosis import diagnose

        return diagnose(self.study, self._objective)

    def confirm(
        self, k: int = 3, seeds: int = 3, *, seed: int = 0, show_progress_bar: bool = True
    ) -> pd.DataFrame:
        """Rank the best ``k`` and the default by fresh seeds: `tuner.diagnosis.confirm.confirm`.

        Raises:
            TypeError: if the objective is a plain function.
        """
        from tuner.diagnosis.confirm import confirm
        from tuner.search.progress import show_runs

        objective = self._with_cohorts("confirm")
        metric = f"mean {objective.metric.name}"
        with show_runs("runs from fresh seeds", metric, enabled=show_progress_bar) as show:
            return confirm(self.study, objective, k=k, seeds=seeds, seed=seed, show=show)

    def report(
        self, path: str | os.PathLike[str], *, confirmed: pd.DataFrame | None = None
    ) -> Path:
        """Write the study as one HTML file that opens offline, see `tuner.report.write_report`.

        The best model's predictions on the validation split are in it if this process has that
        model: read `model` before, where another process trained it.

        Args:
            path: a file ending in ``.html``; one already there is replaced.
            confirmed: what `confirm` returned, to be shown with its intervals.

        Raises:
            ValueError: if ``path`` ends otherwise or its folder does not exist; before any work.
        """
        from tuner.report.html import write_report

        best = self.best_trial.number if has_complete(self.study) else None
        number, model = self._model or (None, None)
        model = model if number == best else None
        return write_report(
            self.study, path, objective=self._objective, model=model, confirmed=confirmed
        )

    def _load(self, path: Path) -> FittedModel:
        from objectives.models import load_model

        build = getattr(self._objective, "build", self._build)
        return load_model(path, build=build, metric=getattr(self._objective, "metric", None))

    def _with_cohorts(self, what: str) -> NetworkObjective[FittedModel]:
        if not hasattr(self.objective, "cohort"):
            raise TypeError(
                f"{what} must come from a ready-made objective, got a function, which keeps none"
            )
        objective: NetworkObjective[FittedModel] = self.objective
        return objective

    def __repr__(self) -> str:
        """Return a summary that can be read at a glance."""
        counts = count_states(self.study) or "no trials yet"
        head = f"TuningResult: study {self.study.study_name!r}, {counts}"
        if not has_complete(self.study):
            ends = {trial.number: records(trial) for trial in finished(self.study)}
            whys = {n: known.get("error") or known.get("stopped") for n, known in ends.items()}
            return head + next((f"\n  trial {n}: {why}" for n, why in whys.items() if why), "")
        params = ", ".join(f"{k}={short(v)}" for k, v in self.best_params.items())
        metric = study_record(self.study.user_attrs).get("metric") or "value"
        best = f"best trial {self.best_trial.number}: valid_{metric} {self.best_value:.6g}"
        if (mean := self.confirmed_value) is not None:
            best += f", {short(mean)} when trained again on folds"
        finals, number = self._finals, self.best_trial.number
        known = number in (self._library or ()) or (finals is not None and finals.are_trained)
        compared = self.comparison() if known else ""  # or a model might have to be trained
        return "\n  ".join(filter(None, (head, best, params, compared)))

    def _repr_html_(self) -> str:
        from tuner.report.html import result_html

        return result_html(view_of(self.study, self._objective))


def load_result(
    storage: str | os.PathLike[str] | BaseStorage,
    study_name: str | None = None,
    *,
    data: object = None,
    build: Callable[..., nn.Module] | None = None,
    artifact_store: str | os.PathLike[str] | ArtifactStore | None = None,
) -> TuningResult:
    """Load the result of a study, without the call that made it and without training.

    Tables, figures, diagnosis and ``model`` come from what is stored. What needs the data as well
    (``test_score``, ``refit``, ``confirm``, ``try_params``) makes the recorded call again, where it
    was made of plain values: a file's path or a built-in name as dataset.

    Args:
        storage: a ``.journal`` or ``.db`` file, a URL, or a storage.
        study_name: of the study; may be left out where the storage holds only one.
        data: the dataset, where it lies elsewhere here or was in memory.
        build: the function that made the module, for a study of `tuner.tune_module`.
        artifact_store: where the search kept its model; by default the folder beside the study's
            file.

    Raises:
        ValueError: if there is no such study, none at all, or several and no name was given.
        FileNotFoundError: if a storage file does not exist.

    Example:
        >>> import tempfile
        >>> from tuner import tune_mlp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/iris.journal"
        ...     _ = tune_mlp("iris", storage=path, n_trials=2, epochs=2, show_progress_bar=False)
        ...     load_result(path).model.predict([[5.1, 3.5, 1.4, 0.2]]).shape
        (1,)
    """
    check_artifact_store(artifact_store)
    with storage_errors(storage):
        study = load_study(storage, study_name)

    where = default_folder(storage) if artifact_store is None else artifact_store
    return TuningResult(
        study=study,
        objective=None,
        model=None,
        rebuild=partial(_repeat, study, storage, data, artifact_store),
        build=build,
        artifacts=Artifacts(where),
    )


def _repeat(
    study: optuna.Study,
    storage: str | os.PathLike[str] | BaseStorage,
    data: object,
    artifact_store: str | os.PathLike[str] | ArtifactStore | None,
) -> TuningResult:
    """Make the recorded call of a study again, for the trials that it has."""
    import tuner

    function, dataset, options = recorded_call(study, data=data)
    call = study_attr(study.user_attrs, CALL)
    silent = {"show_progress_bar": False, "track": None}
    options |= silent | {
        "storage": storage,
        "study_name": study.study_name,
        "artifact_store": artifact_store,
        "n_trials": max(1, len(finished(study))),
    }
    result: TuningResult = getattr(tuner, function)(dataset, **options)
    study.set_user_attr(CALL, call)  # whose total stays what it was
    return result
