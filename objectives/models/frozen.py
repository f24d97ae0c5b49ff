"""A fitted model as a frozen estimator of scikit-learn, which never trains it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from objectives.data.targets import Task


class Frozen:
    """What scikit-learn's inspection, calibration and thresholds ask of a fitted estimator.

    ``score`` gives the metric that was tuned; where that is a loss, give ``scoring=`` to whatever
    takes a higher score for a better one, such as `sklearn.inspection.permutation_importance`.
    """

    task: Task
    classes: np.ndarray | None

    def fit(self, X: Any, y: Any = None, **_: Any) -> Self:
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
