import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import IterableDataset

from objectives.data.table import DataWarning
from objectives.images.load import load_images

N = 30
Y = np.arange(N) % 2


def images(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 200, (N, *shape)).astype(dtype)


def with_value(value):
    X = images(4, 4, dtype=np.float32) / 255
    X[-1, 0, 0] = value
    return X


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()


class Broken:
    def __init__(self, broken, error=OSError):
        self.broken, self.error = broken, error

    def __len__(self):
        return N

    def __getitem__(self, i):
        if i in self.broken:
            raise self.error("cannot read")
        return images(4, 4)[i], i % 2


BAD = {
    # What is handed in
    "not-a-dataset": (3, {}, "got int; give lists or arrays"),
    "a-stream": (Stream(), {}, "got Stream"),
    "a-table": (pd.DataFrame({"path": ["a.png"]}), {}, "got DataFrame; .*as in .paths, labels."),
    "one-array": (images(4, 4), {}, r"must give \(image, label\) for each index"),
    "no-images": ((images(4, 4)[:0], []), {}, "got 0 images"),
    "no-items": ([], {}, "got 0 images"),
    "lengths": ((images(4, 4), Y[:5]), {}, "got 30 images and 5 labels"),
    "one-hot": ((images(4, 4), np.eye(2)[Y]), {}, "argmax"),
    "misspelt-builtin": ("digit", {}, "did you mean 'digits'"),
    "one-hot-items": ([(images(4, 4)[0], np.eye(2)[i % 2]) for i in range(N)], {}, "argmax"),
    "no-image-items": ([({}, 0)] * N, {}, "got an array of object"),
    # Shapes
    "flattened": ((images(16), Y), {}, r"got shape \(30, 16\); for flattened ones"),
    "five-axes": ((images(2, 3, 4, 4), Y), {}, r"got shape \(30, 2, 3, 4, 4\)"),
    "two-channels": ((images(2, 6, 6), Y), {}, r"got images of shape \(2, 6, 6\)"),
    "no-pixels": ((images(0, 4), Y), {}, r"got shape \(30, 0, 4\)"),
    "flat-items": ((list(images(16)), Y), {}, r"2 or 3 axes, got one of shape \(16,\)"),
    # Values
    "nan": ((with_value(np.nan), Y), {}, "finite pixel values, got NaN"),
    "infinite": ((with_value(np.inf), Y), {}, "finite pixel values"),
    "negative": ((with_value(-1), Y), {}, "0 or more, got -1; leave normalisation out"),
    "too-large": ((with_value(300), Y), {}, "from 0 to 255, got values up to 300"),
    "between": ((with_value(2.5), Y), {}, "got values up to 2.5 in fractions"),
    "deep": ((images(4, 4, dtype=np.uint16) * 99, Y), {}, "got values up to 1"),
    "negative-items": ((list(with_value(-1)), Y), {}, "0 or more, got -1"),
    "large-integer-items": ((list(images(4, 4, dtype=int) * 9), Y), {}, "got values up to"),
    "complex": ((images(4, 4, dtype=complex), Y), {}, "an array of complex128"),
    "bfloat16": ((torch.full((N, 4, 4), -2.0).bfloat16(), Y), {}, "got -2"),
    # Labels
    "one-class": ((images(4, 4), Y * 0), {}, "at least two distinct values"),
    "missing-label": ((images(4, 4), [None, *"ab" * 14, "a"]), {}, "no missing cells"),
    "class-of-two": ((images(4, 4), [0] * 28 + [1] * 2), {}, "got 2 of class 1"),
    "misspelt-task": ((images(4, 4), Y), {"task": "regresion"}, "mean 'regression'"),
    # Options
    "size-of-zero": ((images(4, 4), Y), {"image_size": 0}, "got image_size=0; 32 and"),
    "size-of-three": ((images(4, 4), Y), {"image_size": (1, 2, 3)}, "pair"),
    "negative-bytes": ((images(4, 4), Y), {"max_bytes": -1}, "max_bytes must be 0 or more"),
    "negative-workers": ((images(4, 4), Y), {"n_workers": -1}, "n_workers must be 0 or more"),
    "valid-size": ((images(4, 4), Y), {"valid_size": 2}, "got valid_size=2"),
    "groups-by-name": ((images(4, 4), Y), {"groups": "who"}, "groups must be a value for each"),
    "groups-by-function": ((images(4, 4), Y), {"groups": len}, "value for each image"),
    "short-groups": ((images(4, 4), Y), {"groups": [1, 2]}, "got shape .2,. for 30 rows"),
    # Items that cannot be read
    "broken-items": (Broken({0, 4}), {}, r"got 2 of 30 .*: 'image 0 \(cannot read\)', 'image 4"),
    "all-broken": (Broken(range(N)), {"skip_corrupt": True}, "got 30 of 30 that cannot"),
    "missing-files": ((["no.png"] * N, Y), {}, "got 30 of 30 that cannot: 'no.png'"),
}


@pytest.mark.parametrize(("dataset", "options", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_sentence_that_names_it(dataset, options, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        load_images(dataset, **options)

    message = str(caught.value)
    assert ";" in message
    assert "\n" not in message
    assert not message.endswith(".")


def test_broken_items_are_left_out_on_request():
    with pytest.warns(DataWarning, match=r"2 images cannot be read and are left out: 'image 0"):
        data = load_images(Broken({0, 4}), skip_corrupt=True)

    assert len(data.train_and_valid()) + data.n_test == 28


def test_errors_of_the_dataset_itself_come_through():
    with pytest.raises(KeyError, match="cannot read"):
        load_images(Broken({4}, KeyError))
