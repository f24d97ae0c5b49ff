"""A fitted model: raw table in, labels, probabilities or values out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from objectives.data.encoders import TableRows, TabularEncoder, TargetScaler
from objectives.data.frames import frame_from
from objectives.data.targets import Task
from objectives.metrics import Metric, probabilities
from objectives.models.export import export_onnx
from objectives.models.files import (
    Labels,
    Path_,
    is_ensemble,
    pack_labels,
    read_ensemble,
    read_model,
    write_model,
)
from objectives.models.held_out import apply_threshold, called, scale_temperature
from objectives.scorers import AnyMetric, get_metric, stored_metric
from objectives.training.stacked_mlp import StackedMLP

if TYPE_CHECKING:
    from sklearn.utils import Tags


class Frozen:
    """A fitted model as an estimator of scikit-learn, which never trains it again.

    ``score`` gives the metric that was tuned; where that is a loss, give ``scoring=`` to whatever
    takes a higher score for a better one, such as `sklearn.inspection.permutation_importance`.
    """

    task: Task
    classes: np.ndarray | None

    def fit(self, X: object, y: object = None, **_: object) -> Self:
        """Return the model as it is."""
        return self

    @property
    def classes_(self) -> np.ndarray:
        """The labels in code order; not there in regression."""
        if self.classes is None:
            raise AttributeError("classes_ belongs to classifiers, got task='regression'")
        return self.classes

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """The columns of the table first handed in; not there for arrays and images."""
        table: Any = getattr(self, "table", self)
        if table is None:
            raise AttributeError("feature_names_in_ belongs to models of tables, got another")
        return np.array(table.input_columns, dtype=np.object_)

    @property
    def n_features_in_(self) -> int:
        """How many columns the table first handed in has; not there for arrays and images."""
        return len(self.feature_names_in_)

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        is_regression = self.task == "regression"
        return Tags(
            estimator_type="regressor" if is_regression else "classifier",
            target_tags=TargetTags(required=False),
            classifier_tags=None if is_regression else ClassifierTags(),
            regressor_tags=RegressorTags() if is_regression else None,
            input_tags=InputTags(categorical=True, string=True, allow_nan=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return self


class FittedModel(Frozen):
    """A network with its preprocessing, which takes tables as they were first handed in.

    The members of a stacked network are averaged: their probabilities, or their values. Weights
    are copied to the CPU, so that training may go on and a saved model predicts the same anywhere.

    Args:
        network: K trained networks as one.
        encoders: what turn a table into the network's inputs: one for all members, or one for each
            run of as many members, as the models of folds have.
        task: ``"binary"``, ``"multiclass"`` or ``"regression"``.
        metric: what `score` computes.
        feature_names: columns that it was trained on.
        classes: labels in code order; None in regression.
        target_scaler: takes outputs back to the units of the target; None for classes.
        params: hyperparameters it was trained with, in plain JSON types.
        input_columns: all feature columns as first handed in, which arrays must have, where some
            were left out of training; None if none was.
        temperature: by which `predict_proba` divides the logits of what members predict on average,
            see `objectives.models.held_out`.
        threshold: the probability of the second of two classes from which on `predict` names it.

    Example:
        >>> from objectives.metrics import METRICS
        >>> table = pd.DataFrame({"length": [1.0, 2.0, 3.0]})
        >>> network = StackedMLP(
        ...     activations=["relu"], n_inputs=1, n_outputs=1, n_layers=1, hidden_units=2
        ... )
        >>> model = FittedModel(
        ...     network=network,
        ...     encoders=[TabularEncoder.fit(table)],
        ...     task="binary",
        ...     metric=METRICS["accuracy"],
        ...     feature_names=["length"],
        ...     classes=np.array(["cat", "dog"]),
        ... )
        >>> model.predict_proba(table).shape
        (3, 2)
    """

    suffix = ".model.zip"
    temperature = 1.0
    threshold = 0.5

    def __init__(
        self,
        *,
        network: StackedMLP,
        encoders: Sequence[TabularEncoder],
        task: Task,
        metric: Metric,
        feature_names: Sequence[str],
        classes: Labels | None = None,
        target_scaler: TargetScaler | None = None,
        params: Mapping[str, Any] | None = None,
        input_columns: Sequence[str] | None = None,
        temperature: float = 1.0,
        threshold: float = 0.5,
    ) -> None:
        self.network = StackedMLP.from_config(network.config)
        self.network.load_state_dict(network.state_dict())
        self.network.eval()
        self.encoders = tuple(encoders)
        self.task: Task = task
        self.metric = metric
        self.feature_names = tuple(feature_names)
        self.classes = classes
        self.target_scaler = target_scaler
        self.params = dict(params or {})
        self.input_columns = tuple(feature_names if input_columns is None else input_columns)
        self.temperature, self.threshold = temperature, threshold

    def at_temperature(self, temperature: float) -> Self:
        """Return the same model with another temperature."""
        model = copy.copy(self)
        model.temperature = temperature
        return model

    def plain(self) -> Self:
        """Return the same model as it was trained, without temperature and threshold."""
        model = self.at_temperature(1.0)
        model.threshold = 0.5
        return model

    def at_threshold(self, threshold: float) -> Self:
        """Return the same model with another threshold.

        Raises:
            ValueError: if ``threshold`` is not between 0 and 1, or there are not two classes.
        """
        if self.task != "binary" or not 0 < threshold < 1:
            raise ValueError(
                "threshold must be between 0 and 1, of a model of two classes, got "
                f"threshold={threshold} and task={self.task!r}"
            )
        model = copy.copy(self)
        model.threshold = threshold
        return model

    def predict(self, X: object) -> Labels:
        """Return the most probable label of each row, or the one that ``threshold`` gives; in
        regression, its value.

        Args:
            X: a DataFrame with the columns of training in any order, others being ignored; or an
                array with all columns in the order of the table first handed in.

        Returns:
            Shape (n,): labels as training had them, or float64 values in the target's units.

        Raises:
            ValueError: if a column is missing or holds what it cannot; the message names it.
        """
        average = self._average(X)
        if self.classes is not None:
            codes = average.argmax(axis=1)
            if self.threshold != 0.5:
                p = scale_temperature(average, self.temperature)
                codes = apply_threshold(p[:, 1], self.threshold)
            labels: Labels = self.classes[codes]
            return labels
        return average if self.target_scaler is None else self.target_scaler.inverse(average)

    def predict_proba(self, X: object) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n, n_classes), in the order of ``classes``.

        Raises:
            TypeError: if the model was fitted for regression.
            ValueError: as in `predict`.
        """
        if self.classes is None:
            raise TypeError(
                "predict_proba must be asked of a classifier, got task='regression'; use predict"
            )
        return scale_temperature(self._average(X), self.temperature)

    def score(
        self,
        X: object,
        y: ArrayLike,
        metric: AnyMetric | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return how good the predictions for ``X`` are.

        Args:
            X: as in `predict`.
            y: the true labels or values, shape (n,).
            metric: a metric's name; None for the one that was tuned.
            sample_weight: one number >= 0 a row; None weighs all rows alike.

        Raises:
            ValueError: if ``y`` has another length than ``X``, a label that training did not have,
                or a value that is not finite; or the metric does not fit the task.
        """
        chosen = self.metric if metric is None else get_metric(metric, self.task, self.classes)
        truth = self._values(y) if self.classes is None else self._codes(y, self.classes)
        prediction = self.predict(X) if self.classes is None else self.predict_proba(X)
        if len(truth) != len(prediction):
            raise ValueError(
                f"y must have one entry for each row of X, got {len(truth)} entries and "
                f"{len(prediction)} rows; pass both from the same table"
            )
        if self.threshold != 0.5:
            prediction = called(chosen, truth, prediction, self.threshold)
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return chosen.score(truth, prediction, weight)

    def save(self, path: Path_) -> None:
        """Write the model to one file without pickle, replacing the file if it is there.

        Raises:
            ValueError: if the folder is missing, ``path`` is a folder, or the labels are neither
                text, numbers nor booleans.
        """
        record = {
            **self._record(),
            "feature_names": list(self.feature_names),
            "input_columns": list(self.input_columns),
        }
        write_model(path, record=record, network=self.network, encoders=self.encoders)

    @classmethod
    def load(cls, path: Path_, *, metric: Metric | None = None) -> Self:
        """Read a model that `save` wrote; it predicts the same to the last bit.

        Nothing in the file is run: it may come from anyone. A ``metric`` is needed only to score by
        one of your own, which a file cannot hold. An ensemble's file gives an
        `objectives.models.ensemble.EnsembleModel`.

        Raises:
            ValueError: if there is no such file, or it is no model file, damaged, altered or of a
                later version.
        """
        if cls is FittedModel and is_ensemble(path):
            return read_ensemble(path, metric=metric)  # type: ignore[no-any-return]
        record = read_model(path)
        if metric is None:
            chosen = stored_metric(record["metric"], record["task"])
        else:
            chosen = get_metric(metric, record["task"], record["classes"])
        return cls(**record | {"metric": chosen})

    @property
    def n_bytes(self) -> int:
        """What the weights take in memory."""
        return self.network.flat.nbytes

    def takes_inputs_of(self, other: FittedModel) -> bool:
        """Say whether what ``other.rows(X)`` gives are the inputs of this model, too."""
        if self is other or type(self) is not type(other):
            return self is other
        same = len(self.encoders) == len(other.encoders) and all(
            a is b for a, b in zip(self.encoders, other.encoders, strict=True)
        )
        # With one encoder a fold, the inputs are repeated for each network.
        n_networks = (len(m.network.flat) for m in (self, other))
        return same and (len(self.encoders) == 1 or len(set(n_networks)) == 1)

    def share_inputs(self, other: FittedModel) -> None:
        """Take the encoders of another model of the same search, which are fitted alike."""
        if type(self) is type(other) and _shape(self.encoders) == _shape(other.encoders):
            self.encoders = other.encoders

    def encode(self, X: object) -> Tensor:
        """Return the network's inputs for ``X``: (n, I), or (K, n, I) where encoders differ."""
        return torch.cat(list(self._batches(self.rows(X))), dim=-2)

    def rows(self, X: object) -> Any:
        """Return the inputs for ``X``, for `average_of`: its rows as each encoder has them, to be
        expanded in batches.
        """
        # Encoded as a whole: a batch could be read otherwise, such as one with unlike date formats.
        frame = frame_from(X, self.feature_names, input_columns=self.input_columns)
        return [encoder.rows(frame) for encoder in self.encoders]

    def _batches(self, rows: Sequence[TableRows]) -> Iterator[Tensor]:
        """Yield the network's inputs as `encode` has them, some rows at a time."""
        if len(rows) == 1:
            yield from rows[0].batches()
            return
        width, n_members = self.network.config["n_inputs"], len(self.network.flat)
        for parts in zip(*(part.batches(width) for part in rows), strict=True):
            yield torch.stack(parts).repeat_interleave(n_members // len(rows), dim=0)

    def exportable(self, n_rows: int) -> tuple[torch.nn.Module, Tensor]:
        """Return the network and an example of its inputs, see `objectives.models.export`."""
        if len(self.encoders) > 1:
            raise ValueError(
                "export must be asked of a model with one encoder, got a model of "
                f"{len(self.encoders)} folds; export result.refit() instead"
            )
        return self.network, torch.zeros(n_rows, self.network.config["n_inputs"])

    def export_onnx(self, path: Path_) -> None:
        """Write an ONNX file, see `objectives.models.export.export_onnx`."""
        export_onnx(self, path)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f"n_classes={len(self.classes)}, "
        return (
            f"FittedModel(task={self.task!r}, metric={self.metric.name!r}, {classes}"
            f"n_features={len(self.feature_names)}, params={self.params})"
        )

    def _record(self) -> dict[str, Any]:
        """Return what models of every kind know, in plain JSON types."""
        return {
            "task": self.task,
            "metric": self.metric.name,
            "params": self.params,
            "classes": pack_labels(self.classes),
            "target_scaler": None if self.target_scaler is None else vars(self.target_scaler),
            "temperature": self.temperature,
            "threshold": self.threshold,
        }

    def _average(self, X: object) -> NDArray[np.float64]:
        return self.average_of(self.rows(X))

    def average_of(self, rows: Any) -> NDArray[np.float64]:
        """Return what the networks predict on average for the rows that `rows` gives."""
        with torch.inference_mode():
            batches = [self._mean(self.network(x).double()) for x in self._batches(rows)]
        return torch.cat(batches).numpy()

    def mean_of(self, outputs: Tensor) -> Tensor:
        """Return probabilities (n, n_classes), or values (n,) in the target's units, of the outputs
        (K, n, C) of some of the networks.
        """
        mean = self._mean(outputs)
        scaler = self.target_scaler
        return mean if scaler is None else torch.from_numpy(scaler.inverse(mean.numpy()))

    def _mean(self, outputs: Tensor) -> Tensor:
        return (outputs[..., 0] if self.classes is None else probabilities(outputs)).mean(dim=0)

    def _codes(self, y: ArrayLike, classes: Labels) -> NDArray[np.int64]:
        labels = _column(y)
        known = {label: code for code, label in enumerate(classes.tolist())}
        codes = labels.map(known)
        if isinstance(classes[0], str):  # what training was given may have been of mixed types
            codes = codes.fillna(labels.astype(str).map(known))
        if codes.isna().any():
            raise ValueError(
                f"y must hold labels that training had, got {labels[codes.isna()].tolist()[0]!r}; "
                f"they are {', '.join(map(repr, classes.tolist()[:10]))}"
            )
        return codes.to_numpy(dtype=np.int64)

    def _values(self, y: ArrayLike) -> NDArray[np.float64]:
        column = _column(y)
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            cell = column.tolist()[row]
            raise ValueError(f"y must hold finite numbers, got {cell!r} in row {row}; drop the row")
        return values


def _shape(encoders: Sequence[TabularEncoder]) -> list[tuple[object, ...]]:
    return [(encoder.columns, encoder.n_outputs) for encoder in encoders]


def _column(y: ArrayLike) -> pd.Series:
    values = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    return pd.Series(values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values)
