"""Images in any form: one uint8 form, three splits, and clear words for what cannot be used."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset

from objectives.checks import DataWarning
from objectives.images import load_images

rng = np.random.default_rng(0)
COLOUR = rng.integers(0, 256, (30, 8, 10, 3), dtype=np.uint8)
LABELS = np.array(["cat", "cow", "dog"] * 10)


def all_images(data):
    return torch.cat([s.batch(range(len(s))) for s in (data.train, data.valid, data.open_test())])


def sums(images):
    return sorted(images.flatten(1).long().sum(1).tolist())


FORMS = {
    "array (N, H, W, C)": COLOUR,
    "array (N, C, H, W)": np.moveaxis(COLOUR, 3, 1),
    "tensor (N, C, H, W)": torch.from_numpy(np.moveaxis(COLOUR, 3, 1).copy()),
    "floats from 0 to 1": (COLOUR / 255).astype(np.float32),
    "floats from 0 to 255": COLOUR.astype(np.float64),
    "PIL images": [Image.fromarray(image) for image in COLOUR],
    "list of arrays": list(COLOUR),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_images_comes_to_the_same_pixels(form):
    data = load_images((FORMS[form], LABELS))

    images = all_images(data)
    assert images.dtype == torch.uint8
    assert images.shape == (30, 3, 8, 10)
    assert sums(images) == sorted(COLOUR.reshape(30, -1).astype(int).sum(1).tolist())
    assert list(data.classes) == ["cat", "cow", "dog"]


def test_grey_images_have_one_channel():
    data = load_images((COLOUR[..., 0], LABELS))

    assert all_images(data).shape == (30, 1, 8, 10)
    assert data.n_channels == len(data.mean) == 1


def test_an_alpha_channel_is_left_out_with_a_warning():
    with pytest.warns(DataWarning, match="alpha"):
        data = load_images((np.concatenate([COLOUR, COLOUR[..., :1]], axis=3), LABELS))

    assert data.n_channels == 3


def test_statistics_are_those_of_the_training_images():
    data = load_images((COLOUR, LABELS))

    values = data.train.images.double() / 255
    np.testing.assert_allclose(data.mean, values.mean((0, 2, 3)))
    np.testing.assert_allclose(data.std, values.std((0, 2, 3), correction=0))


@given(seed=st.integers(0, 2**31), n=st.integers(15, 40))
def test_each_image_is_in_one_split_and_each_class_in_all(seed, n):
    images = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 3, 3), np.uint8)
    data = load_images((images, np.arange(n) % 3), seed=seed)

    assert sums(all_images(data)) == [9 * k for k in range(n)]
    for split in (data.train, data.valid, data.open_test()):
        assert set(split.y) == {0, 1, 2}


def test_images_too_large_for_memory_are_streamed_and_the_same():
    in_memory = load_images((COLOUR, LABELS))
    streamed = load_images((COLOUR, LABELS), max_bytes=100, n_workers=1)

    assert streamed.is_streamed
    order = torch.randperm(len(streamed.train))
    pairs = zip(
        streamed.train.stream(order, batch_size=4), in_memory.train.stream(order, batch_size=4),
        strict=True,
    )  # fmt: skip
    assert all(torch.equal(first, second) for first, second in pairs)
    assert streamed.mean == in_memory.mean
    assert torch.equal(streamed.train_and_valid().batch([0, 20]), all_images(in_memory)[[0, 20]])


class Photos(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, row):
        return Image.new("RGB", (5 + row % 2, 4), (row, 0, 0)), row % 2


def test_a_dataset_of_images_and_labels_is_read_and_unequal_sizes_are_resized_with_a_warning():
    with pytest.warns(DataWarning, match="6 of 12 images are resized"):
        data = load_images(Photos())

    assert repr(data).startswith("ImageData('Photos': binary, 2 classes, 3x4x")


def test_a_size_given_is_the_size_of_all():
    assert load_images((COLOUR, LABELS), image_size=(6, 5)).image_size == (6, 5)
    assert load_images("digits", image_size=16).train.batch([0]).shape == (1, 1, 16, 16)


def test_the_fingerprint_follows_the_content():
    first = load_images((COLOUR, LABELS)).fingerprint

    assert load_images((COLOUR.copy(), LABELS)).fingerprint == first
    changed = COLOUR.copy()
    changed[0, 0, 0, 0] ^= 1
    assert load_images((changed, LABELS)).fingerprint != first


def test_groups_stay_in_one_split():
    groups = np.arange(30) // 5
    data = load_images((COLOUR, np.tile([0.5, 1.5], 15)), groups=list(groups))
    whole = {
        int(image.astype(int).sum()): group for image, group in zip(COLOUR, groups, strict=True)
    }

    found = [
        {whole[int(image.long().sum())] for image in split.images}
        for split in (data.train, data.valid, data.open_test())
    ]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]


HALF = COLOUR[:, :, :, 0] / 255
BAD = {
    "NaN": ((np.where(HALF > 0.5, np.nan, HALF), LABELS), "finite pixel values"),
    "negative": ((HALF - 0.5, LABELS), "pixel values of 0 or more"),
    "too large": ((HALF * 1000, LABELS), "from 0 to 1 or from 0 to 255"),
    "two channels": ((COLOUR[..., :2], LABELS), "1 or 3 channels"),
    "lengths": ((COLOUR, LABELS[:-1]), "X and y must have the same length, got 30 .* 29"),
    "one-hot": ((COLOUR, np.eye(30)), "argmax"),
    "no images": ((COLOUR[:0], LABELS[:0]), "0 images"),
    "a name": ("digts", "did you mean 'digits'|digits"),
    "one class": ((COLOUR, np.zeros(30, int)), "class"),
}


@pytest.mark.parametrize("case", BAD)
def test_images_that_cannot_be_used_are_refused_in_words_that_say_why(case):
    dataset, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        load_images(dataset)


@pytest.mark.parametrize("size", [0, (8,), "8", (8, 0)])
def test_an_impossible_size_is_refused(size):
    with pytest.raises((ValueError, TypeError), match="image_size must be"):
        load_images("digits", image_size=size)
