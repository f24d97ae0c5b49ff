import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from objectives.data.encoders import TargetScaler


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.sampled_from([np.asarray, torch.tensor]),
)
def test_scaled_targets_come_back_in_their_units(values, kind):
    scaler = TargetScaler.fit(np.array(values))
    y = kind(np.array(values))

    back = scaler.inverse(scaler.transform(y))

    assert type(back) is type(y)
    assert np.asarray(back) == pytest.approx(np.array(values), rel=1e-9, abs=1e-6)


def test_target_scaler_holds_plain_floats_and_leaves_constants_unscaled():
    scaler = TargetScaler.fit(np.array([4.0, 4.0]))

    assert (scaler.mean, scaler.scale) == (4.0, 1.0)
    assert {type(scaler.mean), type(scaler.scale)} == {float}


def test_clamped_predictions_stay_within_the_range_of_the_training_targets():
    scaler = TargetScaler.fit(np.array([1.0, 2.0, 9.0]), clamp=True)

    assert scaler.inverse(np.array([-9.0, 0.0, 9.0])).tolist() == [1.0, 4.0, 9.0]
    assert scaler.inverse(torch.tensor([9.0])).tolist() == [9.0]


@pytest.mark.parametrize("value", [0.1, 0.7, 123456.789])
def test_a_constant_whose_sum_is_rounded_is_left_unscaled(value):
    scaler = TargetScaler.fit(np.full(1000, value))

    assert (scaler.mean, scaler.scale) == (value, 1.0)
