from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, TensorDataset
from torchvision.datasets import FakeData, VisionDataset
from torchvision.transforms import v2

from objectives.data.table import DataWarning
from objectives.images.load import image_batch, load_images
from objectives.images.pixels import channel_axis, read_image

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
N = 30
Y = np.arange(N) % 2


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def every_image(data):
    return torch.cat(
        [split.batch(range(len(split))) for split in (data.train, data.valid, data.open_test())]
    )


class Pairs(Dataset):
    def __init__(self, X, y, transform=None):
        self.X, self.y, self.transform = X, y, transform

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return (self.transform(self.X[i]) if self.transform else self.X[i]), self.y[i]


class Tiny(VisionDataset):
    def __init__(self, transform=None):
        super().__init__(root="", transform=transform)
        self.data, self.targets = pixels(N, 6, 5, 3), Y.tolist()

    def __len__(self):
        return N

    def __getitem__(self, i):
        image = Image.fromarray(self.data[i])
        return (self.transform(image) if self.transform else image), self.targets[i]


def test_the_same_pixels_give_the_same_images_in_every_form():
    X = pixels(N, 6, 5, 3)
    forms = [
        (X, Y),
        [X, Y.tolist()],
        (X, Y[:, None]),
        (X / 255, Y),
        ((X / 255).astype(np.float32), Y),
        (X.astype(np.float64), Y),
        (X.astype(np.int64), Y),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (torch.from_numpy(X).movedim(3, 1), Y),
        (list(X), Y),
        (X.tolist(), Y),
        ([Image.fromarray(x) for x in X], Y),
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        Pairs(X, Y),
        Pairs(X, torch.from_numpy(Y)),
        Pairs([Image.fromarray(x) for x in X], Y, v2.functional.pil_to_tensor),
        Pairs(X, Y, lambda x: torch.from_numpy(x).movedim(2, 0) / 255),
        Tiny(),
        Tiny(v2.functional.pil_to_tensor),
    ]
    expected = load_images(forms[0])

    for form in forms[1:]:
        data = load_images(form)

        assert torch.equal(every_image(data), every_image(expected))
        assert np.array_equal(data.train.y, expected.train.y)
        assert data.mean == expected.mean
    assert expected.train.images.shape == (18, 3, 6, 5)
    assert expected.train.images.dtype == torch.uint8


@given(
    n_channels=st.sampled_from([0, 1, 3, 4]),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    first=st.booleans(),
    is_tensor=st.booleans(),
    kind=st.sampled_from(["uint8", "unit", "float", "bool"]),
)
def test_every_layout_and_type_is_read_as_it_was_meant(n_channels, size, first, is_tensor, kind):
    meant = pixels(8, max(n_channels, 1), *size)
    meant[0, 0, 0, 0] = 255
    if kind == "bool":
        meant = np.where(meant > 99, 255, 0).astype(np.uint8)
    X = meant[:, 0] if n_channels == 0 else meant if first else np.moveaxis(meant, 1, 3)
    X = {"uint8": X, "unit": X / 255, "float": X.astype(np.float32), "bool": X > 99}[kind]

    batch = image_batch(
        torch.tensor(X) if is_tensor else X, n_channels=min(max(n_channels, 1), 3), image_size=size
    )

    assert np.array_equal(batch.numpy(), meant[:, :3])


@pytest.mark.parametrize(
    ("shape", "tensor_axis", "array_axis"),
    [
        ((32, 32, 3), 2, 2),
        ((3, 32, 32), 0, 0),
        ((3, 32, 3), 0, 2),
        ((1, 8, 3), 0, 2),
        ((4, 4, 3), 2, 2),
        ((4, 8, 8), 0, 0),
        ((4, 8, 4), 0, 2),
    ],
)
def test_doubtful_layouts_follow_the_rule(shape, tensor_axis, array_axis):
    assert channel_axis(shape, is_tensor=True) == tensor_axis
    assert channel_axis(shape, is_tensor=False) == array_axis


def test_digits_are_built_in():
    data = load_images("digits")

    assert repr(data) == (
        "ImageData('digits': multiclass, 10 classes, 1x8x8, "
        "1079 train / 359 valid / 359 test images)"
    )
    assert data.train.images.max() == 255
    assert not [name for name in vars(data) if "test" in name and not name.startswith("_")]
    assert load_images(data, seed=7) is data


@pytest.mark.parametrize(
    ("y", "task", "expected", "n_classes"),
    [
        (np.array(["cat", "dog", "eel"] * 10), None, "multiclass", 3),
        (np.arange(N) % 10, None, "multiclass", 10),
        (Y > 0, None, "binary", 2),
        (np.linspace(0, 1, N), None, "regression", None),
        (np.arange(N) % 5, "regression", "regression", None),
    ],
)
def test_task_follows_from_the_labels(y, task, expected, n_classes):
    data = load_images((pixels(N, 4, 4), y), task=task, test_size=1 / 3, valid_size=1 / 3)

    assert data.task == expected
    assert (None if data.classes is None else len(data.classes)) == n_classes


def test_many_whole_numbers_are_classes():
    data = load_images((pixels(300, 4, 4), np.arange(300) % 50))

    assert len(data.classes) == 50


def test_statistics_are_those_of_the_training_images():
    X = pixels(N, 6, 5, 3)
    X[..., 2] = 51

    data = load_images((X, Y))
    expected = data.train.images.double() / 255

    assert data.mean == pytest.approx(expected.mean((0, 2, 3)).tolist())
    assert data.std[:2] == pytest.approx(expected.std((0, 2, 3), correction=0)[:2].tolist())
    assert data.mean[2], data.std[2] == (0.2, 1.0)


def test_unequal_sizes_become_the_median_with_a_warning():
    X = [pixels(6, 5 + (i < 2), seed=i) for i in range(N)]

    with pytest.warns(DataWarning, match="2 of 30 images are resized to 6x5") as caught:
        data = load_images((X, Y))

    assert caught[0].filename == __file__
    assert data.image_size == (6, 5)
    assert load_images((X, Y), image_size=4).image_size == (4, 4)
    assert load_images((X, Y), image_size=(3, 4)).train.images.shape == (18, 1, 3, 4)


def test_grey_beside_colour_becomes_colour():
    X = [pixels(4, 4) if i % 2 else pixels(4, 4, 3) for i in range(N)]

    data = load_images((X, Y))
    grey = data.train.batch(np.flatnonzero(data.train.y == 1))

    assert data.n_channels == 3
    assert torch.equal(grey[:, 0], grey[:, 2])


@pytest.mark.parametrize("form", [lambda X: X, list], ids=["array", "list"])
def test_alpha_is_dropped_with_a_warning(form):
    X = pixels(N, 6, 5, 4)

    with pytest.warns(DataWarning, match="30 images have an alpha channel"):
        data = load_images((form(X), Y))

    assert torch.equal(every_image(data), every_image(load_images((X[..., :3], Y))))


def test_pillow_modes_are_read():
    rgb, grey = Image.fromarray(pixels(4, 5, 3)), Image.fromarray(pixels(4, 5))
    deep = Image.fromarray((np.asarray(grey).astype(np.uint16) << 8) + 7)
    see_through = rgb.quantize(8)
    see_through.info["transparency"] = bytes(8)
    expected = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGBA": 3, "CMYK": 3, "HSV": 3}

    assert {m: len(read_image(rgb.convert(m)).image) for m in expected} == expected
    assert torch.equal(read_image(deep).image, read_image(grey).image)
    assert read_image(see_through).alpha


def test_random_transforms_of_a_dataset_are_named_in_a_warning():
    jitter = v2.RandomRotation(180)
    images = [Image.fromarray(pixels(9, 9)) for _ in range(N)]

    with pytest.warns(DataWarning, match="another image 0 each time"):
        load_images(Pairs(images, Y, jitter))


def test_torchvision_datasets_load():
    data = load_images(FakeData(60, (3, 8, 8), num_classes=3))

    assert (data.task, data.n_channels, data.name) == ("multiclass", 3, "FakeData")


def test_flipped_views_are_read_as_they_look():
    X = pixels(N, 6, 5, 3)

    for view in (X[:, ::-1], X[..., ::-1], X.transpose(0, 2, 1, 3)):
        expected = every_image(load_images((view.copy(), Y)))
        assert torch.equal(every_image(load_images((view, Y))), expected)
        assert torch.equal(every_image(load_images((list(view), Y))), expected)


def test_groups_stay_together():
    X = np.zeros((N, 4, 4), dtype=np.uint8) + np.arange(N, dtype=np.uint8)[:, None, None] // 3

    data = load_images((X, Y), groups=np.arange(N) // 3)
    owners = [
        set(split.batch(range(len(split)))[:, 0, 0, 0].tolist())
        for split in (data.train, data.valid, data.open_test())
    ]

    assert data.split["kind"] == "group"
    assert sum(map(len, owners)) == len(set.union(*owners)) == 10


def test_class_weights_are_resolved_on_the_training_split():
    y = np.repeat(["often", "rare"], [24, 6])

    data = load_images((pixels(N, 4, 4), y), class_weight="balanced")

    assert set(data.class_weight) == {0, 1}
    assert data.class_weight[1] > data.class_weight[0]


def test_prediction_takes_arrays_files_and_pictures(tmp_path):
    picture = Image.fromarray(pixels(9, 7, 3))
    picture.save(tmp_path / "a.png")
    expected = image_batch([np.asarray(picture)], n_channels=1, image_size=(4, 4))

    for X in (picture, tmp_path / "a.png", str(tmp_path / "a.png"), [picture]):
        assert torch.equal(image_batch(X, n_channels=1, image_size=(4, 4)), expected)
    with pytest.raises(ValueError, match=r"X\[None\]"):
        image_batch(np.asarray(picture), n_channels=3, image_size=(4, 4))
    with pytest.raises(ValueError, match="0 images"):
        image_batch([], n_channels=3, image_size=(4, 4))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data beside the repository")
@pytest.mark.parametrize(
    ("name", "shape"), [("mnist_t10k", (1, 28, 28)), ("sign_digits48", (1, 48, 48))]
)
def test_real_arrays_load_without_a_warning(name, shape):
    file = np.load(SHARED / name / f"{name}.npz")

    data = load_images((file["X"], pd.Series(file["y"])))

    assert len(data.classes) == 10
    assert (data.n_channels, *data.image_size) == shape
