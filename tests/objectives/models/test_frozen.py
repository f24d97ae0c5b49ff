"""Fitted models are frozen estimators: what scikit-learn does with a fitted one takes them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibrationDisplay
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.model_selection import FixedThresholdClassifier

from tests.objectives.models.models import TABLE, classifier, regressor

YES = np.array(["no", "yes"])


def test_permutation_importance_takes_a_model():
    model = regressor()

    found = permutation_importance(model, TABLE, model.predict(TABLE), scoring="r2", random_state=0)

    assert found.importances_mean.shape == (3,)
    assert found.importances_mean.max() > 0


def test_partial_dependence_of_a_column_is_that_of_the_models_own_predictions():
    model = regressor()
    table = TABLE.assign(size=TABLE["size"].fillna(2.0))

    display = PartialDependenceDisplay.from_estimator(model, table, ["size"])

    line = display.lines_[0, 0]
    first = model.predict(table.assign(size=line.get_xdata()[0])).mean()
    assert line.get_ydata()[0] == pytest.approx(first, rel=1e-5)
    plt.close("all")


@pytest.mark.parametrize("wrap", [lambda model: model, FrozenEstimator])
def test_a_threshold_decides_by_the_models_own_probabilities(wrap):
    model = classifier(YES)
    p = model.predict_proba(TABLE)[:, 1]
    threshold = float(np.median(p))

    fixed = FixedThresholdClassifier(
        wrap(model), threshold=threshold, pos_label="yes", response_method="predict_proba"
    ).fit(TABLE, np.array(["no", "yes"] * 3))

    assert fixed.predict(TABLE).tolist() == YES[(p >= threshold).astype(int)].tolist()


def test_a_calibration_curve_takes_a_model():
    display = CalibrationDisplay.from_estimator(classifier(YES), TABLE, ["no", "yes"] * 3)

    np.testing.assert_array_equal(display.y_prob, classifier(YES).predict_proba(TABLE)[:, 1])
    plt.close("all")


def test_a_model_says_what_it_was_fitted_on_and_is_never_fitted_again():
    model, values = classifier(), regressor()

    assert is_classifier(model)
    assert is_regressor(values)
    assert model.classes_.tolist() == ["cat", "cow", "dog"]
    assert not hasattr(values, "classes_")
    assert model.feature_names_in_.tolist() == list(TABLE)
    assert model.n_features_in_ == 3
    assert clone(model) is model.fit(TABLE) is model
