"""Folders of images: classes by folder, given splits, and what is wrong with them by name."""

import numpy as np
import pytest
from PIL import Image

from objectives.checks import DataWarning
from objectives.images import load_images


def write(folder, n, *, start=0, size=(6, 6), mode="RGB"):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(start)
    for number in range(start, start + n):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{number}.png")


def test_class_folders_become_classes_and_hidden_files_are_passed_over(tmp_path):
    write(tmp_path / "ant", 8)
    write(tmp_path / "bee", 8, start=8)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "ant" / ".hidden.png").write_bytes(b"")
    (tmp_path / "ant" / "notes.txt").write_text("no image")

    data = load_images(tmp_path)

    assert list(data.classes) == ["ant", "bee"]
    assert len(data.train) + len(data.valid) + data.n_test == 16
    assert data.name == tmp_path.name


def test_grey_and_colour_together_become_colour(tmp_path):
    write(tmp_path / "ant", 8, mode="L")
    write(tmp_path / "bee", 8, start=8)

    assert load_images(tmp_path).n_channels == 3


@pytest.mark.parametrize("parts", [("train", "val"), ("train", "test"), ("train", "valid", "test")])
def test_a_split_given_by_folders_is_kept(parts, tmp_path):
    for number, part in enumerate(parts):
        for name in ("ant", "bee"):
            write(tmp_path / part / name, 10, start=20 * number + (name == "bee") * 10)

    data = load_images(tmp_path)

    assert len(data.train) == (16 if parts[1] == "test" else 20)
    assert len(data.train) + len(data.valid) + data.n_test == 20 * len(parts)
    assert data.split["kind"].startswith("given")


def test_corrupt_images_are_named_and_left_out_only_on_request(tmp_path):
    write(tmp_path / "ant", 8)
    write(tmp_path / "bee", 8, start=8)
    (tmp_path / "ant" / "torn.png").write_bytes((tmp_path / "ant" / "1.png").read_bytes()[:40])

    with pytest.raises(ValueError, match=r"1 of 17 that cannot: .*torn\.png.*skip_corrupt=True"):
        load_images(tmp_path)
    with pytest.warns(DataWarning, match=r"torn\.png"):
        data = load_images(tmp_path, skip_corrupt=True)
    assert len(data.train) + len(data.valid) + data.n_test == 16


def test_groups_may_be_a_function_of_the_path(tmp_path):
    write(tmp_path / "ant", 12)
    write(tmp_path / "bee", 12, start=12)

    data = load_images(tmp_path, groups=lambda path: int(path.stem) // 4)

    assert data.split["kind"] == "group"
    with pytest.raises(ValueError, match="groups must hold a value for each image, got 3"):
        load_images(tmp_path, groups=[1, 2, 3])


def _nothing(root):
    pass


def _one_class(root):
    write(root / "ant", 5)


def _empty_class(root):
    write(root / "ant", 5)
    (root / "bee").mkdir()


def _lone_image(root):
    write(root / "ant", 5)
    write(root / "bee", 1)


def _only_train(root):
    write(root / "train" / "ant", 5)
    write(root / "train" / "bee", 5)


def _strange_class(root):
    _only_train(root)
    write(root / "test" / "wasp", 5)
    write(root / "test" / "ant", 5)


BAD = {
    "no folders": (_nothing, "a folder for each class, got none"),
    "one class": (_one_class, "two class folders or more, got only 'ant'"),
    "empty class": (_empty_class, "images in every class folder, got none in 'bee'"),
    "one image": (_lone_image, r"too few in 'bee' \(1\)"),
    "train alone": (_only_train, "a folder 'valid' or 'test' beside 'train'"),
    "class only in test": (_strange_class, "every class in its train folder, got 'wasp'"),
}


@pytest.mark.parametrize("case", BAD)
def test_folders_that_cannot_be_used_are_named(case, tmp_path):
    make, words = BAD[case]
    make(tmp_path)

    with pytest.raises(ValueError, match=words):
        load_images(tmp_path)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a folder that exists, got dataset='.*none'"):
        load_images(tmp_path / "none")
