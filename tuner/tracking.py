"""Experiment trackers: a study becomes a parent run, and each of its trials a run below it.

MLflow, Weights & Biases and TensorBoard are imported only where they are asked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tuner.tables import file_name

_MAX_TEXT = 5000  # of a tag in MLflow


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """What a tracker is told of a study.

    Args:
        name: the study's name.
        id: of this study alone, and the same when it is continued; letters and digits.
        metric: what is tuned, such as ``accuracy``.
        direction: ``minimize`` or ``maximize``.
        call: the call that made the study, as a Python program without passwords; may be empty.
    """

    name: str
    id: str
    metric: str
    direction: str
    call: str


class EpochRun(NamedTuple):
    """One epoch of a trial.

    Args:
        epoch: its number, from 0.
        time: seconds since 1970 at its end.
        values: of the learning curve, by the names of `TuningResult.curves_dataframe`; what is not
            finite is left out, and so is its duration.
    """

    epoch: int
    time: float
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """What a tracker is told of a trial that has ended.

    Args:
        number: of the trial in its study.
        state: ``COMPLETE``, ``PRUNED`` or ``FAIL``.
        params: its hyperparameters by their own names, fixed ones included.
        values: numbers of its row in the table: value, value_last, value_std, value_confirmed,
            best_epoch, epochs_run, duration_s; those that it has by now.
        facts: the rest of its row: seed, worker, stopped, error; those that it has.
        curve: its epochs, in order.
        start: when it began, in seconds since 1970.
        end: when it ended.
    """

    number: int
    state: str
    params: dict[str, Any]
    values: dict[str, float]
    facts: dict[str, str]
    curve: tuple[EpochRun, ...]
    start: float
    end: float

    @property
    def name(self) -> str:
        """What its run is called."""
        return f"trial-{self.number:04d}"

    @property
    def best_value(self) -> float:
        """The confirmed value of a complete trial or, where it was not confirmed, its value."""
        return self.values.get("value_confirmed", self.values["value"])


class Tracker(Protocol):
    """What ``track=`` takes besides names: any object with these three methods.

    They are called in the process that makes the call, one at a time. What they raise ends the
    tracking with one warning, and not the search.
    """

    def begin(self, study: StudyRun) -> Collection[int]:
        """Open the study's run; return the numbers of the trials that it has from earlier calls."""

    def log(self, trial: TrialRun) -> None:
        """Take a trial that has ended; each comes once, in the order in which they end."""

    def end(self, best: TrialRun | None, files: Sequence[Path]) -> None:
        """Close the study's run.

        Args:
            best: the best trial; None if none is complete.
            files: the tables of trials and curves and, where it is at hand, the model; they are
                removed afterwards. Empty if the search ended by an error.
        """


class TensorBoardTracker:
    """Writes event files for TensorBoard: curves, hyperparameters and, as text, the best trial.

    Args:
        folder: the study gets a folder in it, each trial one in that, and tables and model lie
            beside these.

    Raises:
        ImportError: if the package tensorboard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str] = "runs") -> None:
        _require("tensorboard")
        self._folder = Path(folder)

    def begin(self, study: StudyRun) -> Collection[int]:
        """Return the trials that have a folder, which a trial gets when it is written whole."""
        self._study = study
        self._root = self._folder / f"{file_name(study.name)}-{study.id[:8]}"
        self._root.mkdir(parents=True, exist_ok=True)
        return [int(path.name.removeprefix("trial-")) for path in self._root.glob("trial-[0-9]*")]

    def log(self, trial: TrialRun) -> None:
        """Write a trial's folder under another name, and then name it."""
        from torch.utils.tensorboard import SummaryWriter

        with tempfile.TemporaryDirectory(dir=self._root, prefix=".") as folder:
            with SummaryWriter(folder) as writer:
                for epoch, time, values in trial.curve:
                    for name, value in values.items():
                        writer.add_scalar(name, value, epoch, walltime=time)
                metrics = {f"trial/{name}": value for name, value in trial.values.items()}
                params = {n: _plain(v) for n, v in trial.params.items()}
                writer.add_hparams(params | {"state": trial.state}, metrics, run_name=".")
                for name, fact in trial.facts.items():
                    writer.add_text(name, fact)
            Path(folder).rename(self._root / trial.name)

    def end(self, best: TrialRun | None, files: Sequence[Path]) -> None:
        """Write which trial is the best, and put the files beside the trials."""
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self._root / "study")) as writer:
            writer.add_text("call", f"```python\n{self._study.call}\n```")
            if best is not None:
                writer.add_text("best trial", f"{best.name}: {best.params}")
                writer.add_scalar(f"best_{self._study.metric}", best.best_value, best.number)
        for path in files:
            (self._root / path.name).write_bytes(path.read_bytes())


class MLflowTracker:
    """Logs to MLflow, wherever ``MLFLOW_TRACKING_URI`` or `mlflow.set_tracking_uri` says.

    A study's run is a child of the run that is active, if one is.

    Args:
        experiment: name of the experiment, made if there is none; by default the active one.

    Raises:
        ImportError: if the package mlflow or mlflow-skinny is not installed.
    """

    def __init__(self, experiment: str | None = None) -> None:
        _require("mlflow")
        self._experiment = experiment

    def begin(self, study: StudyRun) -> Collection[int]:
        """Start the study's run, or continue it; return the trials whose runs have ended."""
        import mlflow

        self._study, self._client = study, mlflow.MlflowClient()
        if self._experiment is not None:
            mlflow.set_experiment(self._experiment)
        earlier = [run.info.run_id for run in self._search(_TAG, study.id)]
        tags = {_TAG: study.id, "metric": study.metric, "direction": study.direction}
        run = mlflow.start_run(
            run_id=earlier[0] if earlier else None,
            run_name=None if earlier else study.name,
            nested=mlflow.active_run() is not None,
            tags=tags | {"call": study.call[:_MAX_TEXT]},
        )
        self._run, self._experiment_id = run.info.run_id, run.info.experiment_id
        below = self._search("mlflow.parentRunId", self._run)
        trials = {int(run.data.tags["number"]): run for run in below if "number" in run.data.tags}
        self._cut_off = {n: r.info.run_id for n, r in trials.items() if r.info.status == "RUNNING"}
        return trials.keys() - self._cut_off.keys()

    def _search(self, tag: str, text: str) -> list[Any]:
        import mlflow

        condition = f"tags.`{tag}` = '{text}'"
        return list(mlflow.search_runs(filter_string=condition, output_format="list"))

    def log(self, trial: TrialRun) -> None:
        """Make a run below the study's, or end the one that an earlier call was cut off in."""
        from mlflow.entities import Metric, Param, RunTag

        run_id = self._cut_off.get(trial.number)
        if run_id is None:
            tags = {"mlflow.parentRunId": self._run, "number": str(trial.number)}
            run = self._client.create_run(
                self._experiment_id, round(1000 * trial.start), tags, trial.name
            )
            run_id = self._cut_off[trial.number] = run.info.run_id
        ended = round(1000 * trial.end)
        metrics = [Metric(name, value, ended, 0) for name, value in trial.values.items()]
        metrics += [
            Metric(name, value, round(1000 * time), epoch)
            for epoch, time, values in trial.curve
            for name, value in values.items()
        ]
        params = [Param(name, str(value)) for name, value in trial.params.items()]
        facts = {"state": trial.state} | trial.facts
        run_tags = [RunTag(name, fact[:_MAX_TEXT]) for name, fact in facts.items()]
        self._client.log_batch(run_id, params=params, tags=run_tags)
        for start in range(0, len(metrics), 1000):  # what a request may hold
            self._client.log_batch(run_id, metrics=metrics[start : start + 1000])
        state = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}[trial.state]
        self._client.set_terminated(run_id, state, ended)
        del self._cut_off[trial.number]

    def end(self, best: TrialRun | None, files: Sequence[Path]) -> None:
        """Put the best trial and the files into the study's run, and end it."""
        import mlflow

        if best is not None:
            for name, value in best.params.items():
                self._client.set_tag(self._run, f"best_{name}", str(value)[:_MAX_TEXT])
            self._client.set_tag(self._run, "best_trial", str(best.number))
            self._client.log_metric(self._run, f"best_{self._study.metric}", best.best_value)
        for path in files:
            self._client.log_artifact(self._run, str(path))
        mlflow.end_run("FINISHED" if files else "FAILED")


class WandbTracker:
    """Logs to Weights & Biases: the runs of a study are one group, whose name is the study's id.

    Args:
        options: arguments of `wandb.init`, such as ``project``, ``entity``, ``dir`` or
            ``mode="offline"``.

    Raises:
        ImportError: if the package wandb is not installed.
        ValueError: if nobody is logged in, and the mode is not offline.
    """

    def __init__(self, **options: Any) -> None:
        _require("wandb")
        import wandb

        self._options = options
        mode = options.get("mode") or wandb.setup().settings.mode
        is_in = mode != "online" or wandb.run or wandb.login(prompt=False, verify=False)
        if not is_in:  # W&B itself would ask in the midst of the search
            raise ValueError(
                "track='wandb' must have you logged in, got no API key; run wandb login, or set "
                "WANDB_MODE=offline"
            )

    def begin(self, study: StudyRun) -> Collection[int]:
        """Start the study's run, or continue it; return the trials with a folder on this machine.

        A trial that another machine has logged is logged again, into the same run.
        """
        self._study = study
        facts = {"metric": study.metric, "direction": study.direction, "call": study.call}
        self._run = self._init(study.id, name=study.name, job_type="study", config=facts)
        folders = Path(self._run.dir).parents[1].glob(f"*run-*-{study.id}-*")
        numbers = (path.name.rpartition("-")[2] for path in folders if (path / _WHOLE).exists())
        return {int(number) for number in numbers}

    def _init(self, run_id: str, **options: Any) -> Any:
        import wandb

        quiet = wandb.Settings(
            console="off", silent=True, x_disable_stats=True, disable_git=True, save_code=False
        )
        shared = {"group": self._study.id, "resume": "allow", "reinit": "create_new"}
        return wandb.init(id=run_id, settings=quiet, **shared, **options, **self._options)

    def log(self, trial: TrialRun) -> None:
        """Make a run in the study's group."""
        run = self._init(
            f"{self._study.id}-{trial.number}",
            name=trial.name,
            job_type="trial",
            config={name: _plain(value) for name, value in trial.params.items()},
        )
        for epoch, _, values in trial.curve:
            run.log(values, step=epoch)
        run.summary.update(trial.values | trial.facts | {"state": trial.state})
        run.finish(exit_code=int(trial.state == "FAIL"))
        (Path(run.dir).parent / _WHOLE).touch()

    def end(self, best: TrialRun | None, files: Sequence[Path]) -> None:
        """Put the best trial and the files into the study's run, and end it."""
        import wandb

        if best is not None:
            named = {f"best_{name}": _plain(value) for name, value in best.params.items()}
            value = {f"best_{self._study.metric}": best.best_value}
            self._run.summary.update(named | value | {"best_trial": best.number})
        if files:
            artifact = wandb.Artifact(f"study-{self._study.id}", "study")
            for path in files:
                artifact.add_file(str(path))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=int(not files))


_TAG = "fusetune.study"
_WHOLE = "logged-whole"  # a mark in the folder of a run that W&B keeps on this machine
_BY_NAME: dict[str, Callable[[], Tracker]] = {
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
    "tensorboard": TensorBoardTracker,
}


def _require(library: str) -> None:
    if find_spec(library) is None:
        raise ImportError(
            f"track={library!r} must have {library} installed, got none; "
            f"run pip install 'fusetune[{library}]'"
        )


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def tracker_of(track: str | Tracker | None) -> Tracker | None:
    """Return the tracker that ``track`` names, ready to begin.

    Raises:
        TypeError: if it is an object without the methods of a `Tracker`.
        ImportError: if its package is not installed.
    """
    if isinstance(track, str):
        return _BY_NAME[track]()
    missing = [n for n in ("begin", "log", "end") if not callable(getattr(track, n, None))]
    if track is not None and missing:
        raise TypeError(
            f"track must be one of {', '.join(_BY_NAME)} or have the methods begin, log and end, "
            f"got {type(track).__name__} without {', '.join(missing)}"
        )
    return track
