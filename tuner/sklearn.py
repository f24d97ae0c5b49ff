"""`TunedMLPClassifier` and `TunedMLPRegressor`: `tuner.tune_mlp` as estimators of scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from objectives.data.frames import as_frame
from objectives.data.targets import Task
from objectives.space.registry import READY_MADE
from tuner.api import MLPSearch, tune_mlp
from tuner.search.arguments import arguments_for, cure, documented

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from tuner.result import TuningResult

__all__ = ["TunedMLPClassifier", "TunedMLPRegressor"]

_MLP = READY_MADE["mlp"]
# What `fit` is given, what the class says, and what only files have.
_TO_FIT = ("groups", "time", "sample_weight")
_OF_FILES = ("target", "encoding", "drop_missing_target")
_ELSEWHERE = (*_TO_FIT, *_OF_FILES, "task", "test_size", "dry_run")
_KNOWN = {name: one for name, one in arguments_for(_MLP).items() if name not in _ELSEWHERE}
# Silent, as scikit-learn's estimators are.
_KNOWN["show_progress_bar"] = replace(_KNOWN["show_progress_bar"], default=False)


class _TunedMLP(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share: the arguments, and what is checked as scikit-learn checks it."""

    result_: TuningResult

    @documented(_MLP, _KNOWN)
    def __init__(self, **options: Unpack[MLPSearch]) -> None:
        for name, value in options.items():
            if name not in _KNOWN:
                what = "give it to fit" if name in _TO_FIT else cure(_MLP, name, value)
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected argument {name!r}; {what}"
                )
        for name, argument in _KNOWN.items():
            setattr(self, name, options.get(name, argument.default))

    def fit(
        self,
        X: object,
        y: object,
        sample_weight: object = None,
        groups: object = None,
        time: object = None,
    ) -> Self:
        """Search for the best configuration on these rows, and keep the model that it gives.

        Args:
            X: features of n rows: an array, a sparse matrix, or a table of any kind that
                `tuner.tune_mlp` takes, with texts and missing cells.
            y: labels or values, shape (n,).
            sample_weight: a weight for each row, or the name of a column.
            groups: a value for each row, or the name of a column; rows of one group validate
                together.
            time: a value for each row, or the name of a column; the latest rows validate.

        Raises:
            ValueError: for bad data or a bad argument, before any training.
        """
        table = self._table(X, y, reset=True)
        labels = column_or_1d(y, warn=True)
        if labels.dtype == object and None in (without := labels.tolist()):
            raise ValueError(
                f"y must have a label for each row, got None in row {without.index(None)}; leave "
                "out the rows without one"
            )
        assert_all_finite(labels, input_name="y")
        self.result_ = tune_mlp(
            (table, labels),
            task=self._task(labels),
            test_size=0,
            sample_weight=sample_weight,
            groups=groups,
            time=time,
            **self.get_params(deep=False),
        )
        return self

    def predict(self, X: object) -> NDArray[Any]:
        """Return the most probable label of each row or, in regression, its value as float32.

        Args:
            X: as in `fit`, with the same columns.

        Raises:
            ValueError: if ``X`` has other columns.
            sklearn.exceptions.NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        predicted = self.result_.model.predict(self._table(X))
        # The network's precision: further digits would depend on what rows come along.
        return predicted if is_classifier(self) else predicted.astype(np.float32)

    def _task(self, y: NDArray[Any]) -> Task:
        raise NotImplementedError

    def _table(self, X: object, y: object = (), *, reset: bool = False) -> object:
        """Check features as scikit-learn does, and return them as `tune_mlp` takes them."""
        y = None if y is None else "no_validation"  # whether there is one is all that is checked
        if (frame := as_frame(X)) is None:
            return validate_data(
                self,
                X,
                y,
                reset=reset,
                dtype=None,
                accept_sparse=True,
                ensure_all_finite="allow-nan",
                ensure_min_samples=2 if reset else 1,
            )
        validate_data(self, frame, y, reset=reset, skip_check_array=True)
        return frame if reset or hasattr(self, "feature_names_in_") else frame.to_numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "result_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inputs = tags.input_tags
        inputs.allow_nan = inputs.sparse = inputs.string = inputs.categorical = True
        tags.target_tags.required = True
        return tags


@documented(_MLP, _KNOWN)
class TunedMLPClassifier(ClassifierMixin, _TunedMLP):  # type: ignore[misc]  # as above
    """`tuner.tune_mlp` for classes, as an estimator of scikit-learn: ``fit`` is a whole search.

    A search keeps none of its rows for a test, as whoever calls ``fit`` holds the test rows: up to
    1,000 rows are cross-validated by 5 folds, and of more rows a share of ``valid_size`` chooses
    the configuration. ``score`` is the accuracy, whatever ``metric`` was tuned. A ``storage`` holds
    one search of a name: leave it out where ``fit`` is called on several sets of rows, as in
    cross-validation.

    Args:
        {options}

    Attributes:
        result_: the `tuner.TuningResult`, with the study, its tables and figures.
        classes_: the labels, sorted.
        n_features_in_: how many columns ``fit`` was given.
        feature_names_in_: their names, if ``fit`` was given a table with texts as names.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> search = TunedMLPClassifier(n_trials=3, epochs=10, space={"learning_rate": 0.01})
        >>> search.fit(X, y).score(X, y) > 0.9
        True
        >>> sorted(search.result_.best_params)[:3]
        ['activation', 'batch_size', 'dropout']
    """

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, sorted: the order of the columns of `predict_proba`."""
        check_is_fitted(self)
        return self.result_.model.classes_

    def predict_proba(self, X: object) -> NDArray[np.float32]:
        """Return the probability of each class, shape (n, n_classes), in the order of
        ``classes_``, as float32; the rest as in `predict`.
        """
        check_is_fitted(self)
        return self.result_.model.predict_proba(self._table(X)).astype(np.float32)

    def _task(self, y: NDArray[Any]) -> Task:
        check_classification_targets(y)
        return "multiclass" if len(set(y.tolist())) > 2 else "binary"


@documented(_MLP, _KNOWN)
class TunedMLPRegressor(RegressorMixin, _TunedMLP):  # type: ignore[misc]  # as above
    """`tuner.tune_mlp` for values, as an estimator of scikit-learn: ``fit`` is a whole search.

    ``score`` is R², whatever ``metric`` was tuned. `TunedMLPClassifier` says what else there is to
    know.

    Args:
        {options}

    Attributes:
        result_: the `tuner.TuningResult`, with the study, its tables and figures.
        n_features_in_: how many columns ``fit`` was given.
        feature_names_in_: their names, if ``fit`` was given a table with texts as names.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> search = TunedMLPRegressor(n_trials=3, epochs=10, space={"learning_rate": 0.01})
        >>> search.fit(X, y).predict(X[:2]).shape
        (2,)
    """

    def _task(self, y: NDArray[Any]) -> Task:
        return "regression"
