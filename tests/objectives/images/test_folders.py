from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from objectives.data.table import DataWarning
from objectives.images.load import load_images

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def picture(seed=0, size=(6, 5), grey=False):
    shape = size if grey else (*size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def fill(folder, n=10, suffix=".png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.fromarray(picture(seed=i, **options)).save(folder / f"{i:02}{suffix}")


def two_classes(root, n=10, **options):
    for name in ("ants", "bees"):
        fill(root / name, n, **options)
    return root


def cut(path):
    path.write_bytes(path.read_bytes()[:45])


@pytest.mark.parametrize("form", [str, Path])
def test_folders_are_classes(tmp_path, form):
    data = load_images(form(two_classes(tmp_path / "pets")))

    assert repr(data) == (
        "ImageData('pets': binary, 2 classes, 3x6x5, 12 train / 4 valid / 4 test images)"
    )
    assert data.classes.tolist() == ["ants", "bees"]
    shown = {tuple(image.flatten().tolist()) for image in data.train.images}
    assert shown <= {tuple(np.moveaxis(picture(i), 2, 0).flatten().tolist()) for i in range(10)}


def test_files_that_are_no_images_are_passed_over(tmp_path):
    two_classes(tmp_path)
    fill(tmp_path / ".checkpoints")
    fill(tmp_path / "ants" / ".thumbs")
    fill(tmp_path / "bees" / "more", 5, suffix=".JPG")
    for path in ("ants/.DS_Store", "ants/._00.png", "ants/notes.txt", "labels.csv"):
        (tmp_path / path).write_text("x")

    data = load_images(tmp_path)

    assert len(data.train_and_valid()) + data.n_test == 25
    assert data.classes.tolist() == ["ants", "bees"]


def test_grey_files_stay_grey_and_photographs_stand_upright(tmp_path):
    two_classes(tmp_path, grey=True)
    upright = picture(grey=True)
    on_its_side = Image.fromarray(np.rot90(upright))
    exif = on_its_side.getexif()
    exif[0x0112] = 6
    for path in tmp_path.rglob("*.png"):
        on_its_side.save(path, exif=exif)

    data = load_images(tmp_path)

    assert (data.n_channels, data.image_size) == (1, (6, 5))
    assert torch.equal(data.train.images[0, 0], torch.tensor(upright))


def test_unequal_files_are_resized_with_a_warning(tmp_path):
    fill(two_classes(tmp_path) / "bees", 3, size=(9, 9))

    with pytest.warns(DataWarning, match=r"3 of 20 images are resized to 6x5 \(height x width\)"):
        assert load_images(tmp_path).image_size == (6, 5)
    assert load_images(tmp_path, image_size=(4, 3)).image_size == (4, 3)


def test_corrupt_files_are_all_named_and_left_out_only_on_request(tmp_path):
    two_classes(tmp_path, 20)
    for i in range(9):
        cut(tmp_path / "ants" / f"{i:02}.png")
    (tmp_path / "bees" / "00.png").write_text("not a picture")

    words = r"got 10 of 40 that cannot: '.*ants.00.png', '.*01.png'.* and 2 more; .*skip_corrupt="
    with pytest.raises(ValueError, match=words):
        load_images(tmp_path)
    with pytest.warns(DataWarning, match="10 images cannot be read and are left out: '.*00.png'"):
        data = load_images(tmp_path, skip_corrupt=True)

    assert len(data.train_and_valid()) + data.n_test == 30


@pytest.mark.parametrize("max_bytes", [2**20, 100])
def test_images_keep_their_labels_and_groups_when_corrupt_ones_are_left_out(tmp_path, max_bytes):
    for number, name in enumerate(("ants", "bees")):
        for i in range(12):
            (tmp_path / name).mkdir(exist_ok=True)
            image = np.full((4, 4), 100 * number + i // 2, dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / name / f"{i // 2}_{i % 2}.png")
    cut(tmp_path / "ants" / "0_0.png")
    cut(tmp_path / "bees" / "3_1.png")

    with pytest.warns(DataWarning, match="2 images cannot be read"):
        data = load_images(
            tmp_path,
            skip_corrupt=True,
            groups=lambda path: path.parent.name + path.stem[0],
            max_bytes=max_bytes,
            n_workers=0,
        )

    owners = []
    for split in (data.train, data.valid, data.open_test()):
        values = split.batch(range(len(split)))[:, 0, 0, 0].numpy()
        assert np.array_equal(values >= 100, split.y == 1)
        owners.append(set(values.tolist()))
    assert sum(map(len, owners)) == len(set.union(*owners)) == 12


@pytest.mark.parametrize("n_workers", [0, 2])
def test_streamed_files_are_those_in_memory(tmp_path, n_workers):
    two_classes(tmp_path, grey=True)
    fill(tmp_path / "bees", 3)
    kept = load_images(tmp_path)

    data = load_images(tmp_path, max_bytes=50, n_workers=n_workers)

    assert data.is_streamed
    assert torch.equal(torch.cat(list(data.train.stream(batch_size=5))), kept.train.images)
    assert (data.mean, data.std, data.fingerprint) == (kept.mean, kept.std, kept.fingerprint)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_streamed_file_that_goes_missing_is_named(tmp_path, n_workers):
    data = load_images(two_classes(tmp_path), max_bytes=0, n_workers=n_workers)
    for path in tmp_path.rglob("*.png"):
        path.unlink()

    with pytest.raises(ValueError, match=r"can be read, got '.*\.png', which cannot; replace"):
        next(data.train.stream(batch_size=4))


def test_fingerprint_follows_files_not_their_place(tmp_path):
    first = load_images(two_classes(tmp_path / "a")).fingerprint
    same = two_classes(tmp_path / "b")
    assert load_images(same).fingerprint == first

    Image.fromarray(picture(seed=99)).save(same / "ants" / "00.png")

    assert load_images(same).fingerprint != first


@pytest.mark.parametrize(
    ("folders", "sizes", "kind"),
    [
        ({"train": 20, "val": 5, "test": 6}, (40, 10, 12), "given train and valid and test"),
        (
            {"Training": 20, "validation": 5, "TEST": 6},
            (40, 10, 12),
            "given train and valid and test",
        ),
        ({"train": 20, "valid": 8}, (40, 8, 8), "given train and valid"),
        ({"train": 20, "test": 6}, (32, 8, 12), "given train and test"),
    ],
    ids=["all", "other-words", "no-test", "no-valid"],
)
def test_given_splits_are_kept_and_completed(tmp_path, folders, sizes, kind):
    for folder, n in folders.items():
        two_classes(tmp_path / folder, n)

    data = load_images(tmp_path)

    assert (len(data.train), len(data.valid), data.n_test) == sizes
    assert data.split["kind"] == kind
    assert data.valid.y.mean() == data.open_test().y.mean() == 0.5


def test_shares_divide_given_validation_images(tmp_path):
    two_classes(tmp_path / "train", 5)
    two_classes(tmp_path / "val", 20)

    data = load_images(tmp_path, valid_size=0.3, test_size=0.1)

    assert (len(data.train), len(data.valid), data.n_test) == (10, 30, 10)


def test_folders_beside_train_are_named_in_a_warning(tmp_path):
    for name in ("train", "val", "notes"):
        two_classes(tmp_path / name)

    with pytest.warns(DataWarning, match="'notes' stand beside train"):
        load_images(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "tram"):
        fill(tmp_path / name)

    assert load_images(tmp_path).classes.tolist() == ["train", "tram"]


def make(root, **folders):
    for path, n in folders.items():
        fill(root / path.replace("__", "/"), n)


BAD = {
    "missing": ({}, "no/such", "must be a folder that exists, got dataset='no/such'"),
    "file": ({"ants": 3}, "ants/00.png", "must be a folder that exists"),
    "flat": ({"ants": 3}, "ants", "hold a folder for each class, got none in 'ants'"),
    "empty-class": ({"a": 5, "b": 5, "c": 0}, ".", "got none in 'c' of"),
    "one-class": ({"ants": 9}, ".", "two class folders or more, got only 'ants'"),
    "one-image": ({"a": 9, "b": 1, "c": 2}, ".", r"too few in 'b' \(1\), 'c' \(2\)"),
    "train-alone": ({"train__a": 9, "train__b": 9}, ".", "'valid' or 'test' beside 'train'"),
    "unlabelled-test": (
        {"train__a": 9, "train__b": 9, "test": 5},
        ".",
        "folder for each class, got none in 'test'",
    ),
    "class-not-trained": (
        {"train__a": 9, "train__b": 9, "val__a": 5, "val__z": 5},
        ".",
        "got 'z' only in 'val'",
    ),
    "two-valids": (
        {"train__a": 9, "train__b": 9, "val__a": 5, "valid__a": 5},
        ".",
        "one folder for each spl",
    ),
    "small-valid": (
        {"train__a": 9, "train__b": 9, "val__a": 1, "val__b": 1},
        ".",
        "2 rows or more in each",
    ),
}


@pytest.mark.parametrize(("folders", "dataset", "words"), BAD.values(), ids=BAD.keys())
def test_bad_folder_is_refused_in_one_sentence(in_folder, folders, dataset, words):
    make(in_folder, **folders)

    with pytest.raises(ValueError, match=words) as caught:
        load_images(Path(dataset))

    message = str(caught.value)
    assert ";" in message
    assert "\n" not in message
    assert not message.endswith(".")


def test_groups_beside_given_splits_are_refused(tmp_path):
    for name in ("train", "val"):
        two_classes(tmp_path / name)

    with pytest.raises(ValueError, match="groups must be left out where folders give the split"):
        load_images(tmp_path, groups=lambda path: path.stem)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data beside the repository")
def test_real_photographs_load_without_a_warning():
    data = load_images(SHARED / "hymenoptera160")

    assert data.classes.tolist() == ["ants", "bees"]
    assert (len(data.train), len(data.valid), data.n_test) == (244, 77, 76)
