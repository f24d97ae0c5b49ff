import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch

from objectives.images.load import load_images

N = 30
Y = np.arange(N) % 2


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def every_image(data):
    return torch.cat(
        [split.batch(range(len(split))) for split in (data.train, data.valid, data.open_test())]
    )


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("form", [lambda X: X, list], ids=["array", "list"])
def test_streamed_images_are_those_in_memory(form, n_workers):
    X = pixels(N, 6, 5)
    kept = load_images((form(X), Y))
    data = load_images((form(X), Y), max_bytes=100, n_workers=n_workers)
    order = [3, 1, 17, 4, 0]

    before = torch.get_rng_state()
    batches = list(data.train.stream(order, batch_size=2))

    assert data.train.images is None
    assert repr(data).endswith("images, streamed)")
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat(batches), kept.train.batch(order))
    assert torch.equal(torch.cat(list(kept.train.stream(order, batch_size=2))), torch.cat(batches))
    assert torch.equal(torch.get_rng_state(), before)
    assert (data.mean, data.std, data.fingerprint) == (kept.mean, kept.std, kept.fingerprint)
    both, expected = data.train_and_valid(), kept.train_and_valid()
    assert torch.equal(both.batch(range(len(both))), expected.images)
    assert np.array_equal(both.y, expected.y)


def test_streamed_images_are_resized_as_those_in_memory():
    X = pixels(N, 9, 5, 3)
    kept, data = (load_images((X, Y), image_size=4, max_bytes=m, n_workers=0) for m in (9999, 9))

    assert torch.equal(every_image(data), every_image(kept))


def test_a_worker_of_a_pool_reads_streamed_images_itself(monkeypatch):
    data = load_images((pixels(N, 4, 4), Y), max_bytes=0, n_workers=2)
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)

    assert sum(len(batch) for batch in data.train.stream(batch_size=8)) == 18


def test_fingerprint_sees_the_content_but_not_the_form_or_the_split():
    X = pixels(N, 6, 5)
    first = load_images((X, Y)).fingerprint
    changed = X.copy()
    changed[0, 0, 0] ^= 1

    assert load_images((X / 255, Y), seed=5, test_size=0.3).fingerprint == first
    others = [(changed, Y), (X, 1 - Y), (X[::-1], Y), (X.reshape(N, 5, 6), Y)]
    prints = {load_images(other).fingerprint for other in others}
    assert len(prints | {first, load_images((X, Y), image_size=3).fingerprint}) == 6


def test_fingerprint_is_the_same_in_another_process():
    code = "from objectives.images.load import load_images as l; print(l('digits').fingerprint)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == load_images("digits").fingerprint


def test_a_memory_map_is_streamed_where_it_is(tmp_path):
    np.save(tmp_path / "X.npy", pixels(N, 6, 5))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")

    data = load_images((X, Y), max_bytes=0, n_workers=0)

    assert data.train.pixels.source.X is X
    assert torch.equal(every_image(data), every_image(load_images((X, Y))))


@pytest.mark.parametrize(("method", "n_workers"), [("fork", 4), ("spawn", 0), ("forkserver", 0)])
def test_processes_that_would_run_the_users_script_again_are_started_only_on_request(
    method, n_workers, monkeypatch
):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: None)
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: [method])
    monkeypatch.setattr("os.cpu_count", lambda: 64)

    data = load_images((pixels(N, 4, 4), Y), max_bytes=0)

    assert data.train.pixels.n_workers == n_workers
