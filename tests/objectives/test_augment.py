"""Augmentation: random, repeatable, image by image, and never another shape."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from objectives.augment import AUGMENTATIONS, OPERATIONS, _operate, augment

GENERATOR = torch.Generator()


def pictures(n=16, channels=3, size=(8, 12)):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, *size), dtype=torch.uint8, generator=generator)


def drawn(how, images, seed=0):
    return augment(images, how, torch.Generator().manual_seed(seed))


@given(
    how=st.sampled_from(AUGMENTATIONS),
    n=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(2, 20), st.integers(2, 20)),
)
def test_images_keep_their_shape_and_type_and_the_input_stays_as_it_was(how, n, channels, size):
    images = pictures(n, channels, size)
    before = images.clone()

    changed = drawn(how, images)

    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(images, before)


@pytest.mark.parametrize("how", ["flip_crop", "trivial"])
def test_the_same_seed_gives_the_same_images_and_another_seed_others(how):
    images = pictures()

    assert torch.equal(drawn(how, images), drawn(how, images))
    assert not torch.equal(drawn(how, images), drawn(how, images, seed=1))


def test_flip_crop_shifts_each_image_by_at_most_an_eighth_and_mirrors_about_half():
    column = torch.arange(32, dtype=torch.uint8).expand(400, 1, 32, 32).contiguous()

    changed = drawn("flip_crop", column)

    middle = changed[:, 0, 16, 12:20].int()
    rising = (middle.diff(dim=1) == 1).all(1)
    falling = (middle.diff(dim=1) == -1).all(1)
    assert (rising | falling).all()
    assert 120 < int(falling.sum()) < 280
    shift = torch.where(rising, middle[:, 0] - 12, middle[:, 0] - 19)
    assert shift.abs().max() == 4
    assert len(shift.unique()) == 9


def test_no_augmentation_gives_the_images_themselves():
    images = pictures()

    assert augment(images, "none", GENERATOR) is images


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "identity"])
def test_every_operation_of_trivial_changes_colour_images(name):
    images = pictures(4, 3, (32, 32)) // 2 + 30

    assert not torch.equal(_operate(images, name, 0.8, 1), images)


def test_a_grey_image_has_no_colour_to_change():
    images = pictures(2, 1)

    assert torch.equal(_operate(images, "color", 0.8, 1), images)


def test_an_unknown_augmentation_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"none, flip_crop, trivial, got 'trivail'.*'trivial'"):
        augment(pictures(), "trivail", GENERATOR)
