"""Folders of images: one folder for each class, or one for each split with those in it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets.folder import IMG_EXTENSIONS

from objectives._messages import listed
from objectives.data.targets import MIN_CLASS_ROWS

_PARTS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
}


class Folder(NamedTuple):
    """The image files under a root, sorted, with the class folder that each is in.

    ``part`` holds "train", "valid" or "test" for each file; None where the root has no split.
    """

    paths: list[Path]
    labels: NDArray[np.str_]
    part: NDArray[np.str_] | None
    messages: list[str]


def list_folder(root: Path) -> Folder:
    """List the images of ``root/class/image.png`` or ``root/train/class/image.png``.

    Hidden files and folders are skipped, and files whose suffix is not that of an image.
    Folders within a class folder belong to that class. The root is split if it has a folder named
    train (or training) with class folders in it; val, valid or validation, and test, stand beside.

    Raises:
        ValueError: if the root is missing, or a class folder is missing, empty or too small.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise ValueError(
            f"dataset must be a folder that exists, got dataset={str(root)!r}; check the path"
        )
    folders = _folders(root)
    parts = {folder: _PARTS.get(folder.name.lower()) for folder in folders}
    train = [folder for folder, part in parts.items() if part == "train" and _folders(folder)]
    if train:
        return _split_folder(root, parts)
    paths, labels = _classes(root)
    _check_counts(root, labels)
    return Folder(paths, labels, None, [])


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and those within it, hidden ones left out, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMG_EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _classes(root: Path) -> tuple[list[Path], NDArray[np.str_]]:
    classes = {folder.name: images_in(folder) for folder in _folders(root)}
    if not classes:
        raise ValueError(
            f"dataset must hold a folder for each class, got none in {str(root)!r}; "
            "move the images into folders named after their classes"
        )
    empty = [name for name, paths in classes.items() if not paths]
    if empty:
        raise ValueError(
            f"dataset must hold images in every class folder, got none in {listed(empty)} of "
            f"{str(root)!r}; add images ({', '.join(IMG_EXTENSIONS)}) or remove the folder"
        )
    if len(classes) < 2:
        raise ValueError(
            f"dataset must hold two class folders or more, got only {listed(classes)} in "
            f"{str(root)!r}; add a folder for another class"
        )
    labels = np.repeat(list(classes), [len(paths) for paths in classes.values()])
    return [path for paths in classes.values() for path in paths], labels


def _check_counts(root: Path, labels: NDArray[np.str_]) -> None:
    names, counts = np.unique(labels, return_counts=True)
    every = zip(names.tolist(), counts.tolist(), strict=True)
    few = [f"{name!r} ({n})" for name, n in every if n < MIN_CLASS_ROWS]
    if few:
        raise ValueError(
            f"dataset must hold {MIN_CLASS_ROWS} images or more of every class, one for each "
            f"split, got too few in {listed(few, quote=False)} of {str(root)!r}; "
            "add images, or merge or remove the folder"
        )


def _split_folder(root: Path, parts: dict[Path, str | None]) -> Folder:
    used = {part: folder for folder, part in parts.items() if part is not None}
    if len(used) < sum(part is not None for part in parts.values()):
        raise ValueError(
            f"dataset must hold one folder for each split, got {listed(p.name for p in parts)} in "
            f"{str(root)!r}; merge those of one split"
        )
    if set(used) == {"train"}:
        raise ValueError(
            f"dataset must hold a folder 'valid' or 'test' beside 'train', got none in "
            f"{str(root)!r}; give {str(used['train'])!r} to have it split"
        )
    found = {part: _classes(folder) for part, folder in used.items()}
    known = set(found["train"][1])
    for part, (_, labels) in found.items():
        strange = sorted(map(str, set(labels) - known))
        if strange:
            raise ValueError(
                f"dataset must hold every class in its train folder, got {listed(strange)} "
                f"only in {used[part].name!r} of {str(root)!r}; add images of it, or remove it"
            )
    others = [folder.name for folder, part in parts.items() if part is None]
    return Folder(
        [path for paths, _ in found.values() for path in paths],
        np.concatenate([labels for _, labels in found.values()]),
        np.repeat(list(found), [len(paths) for paths, _ in found.values()]),
        [f"folders {listed(others)} stand beside train in {str(root)!r} and are left out"][
            : len(others)
        ],
    )
