import math

import pytest
import torch
from torchvision.transforms.v2 import functional

from objectives.images import augment as module
from objectives.images.augment import N_STRENGTHS, OPERATIONS, augment

SIGNED = torch.linspace(-1, 1, N_STRENGTHS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=32, n_channels=3, height=32, width=48, seed=0):
    shape = (n, n_channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


@pytest.mark.parametrize("how", ["none", "crop", "flip_crop", "trivial"])
@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (8, 8), (40, 24)], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_shape_type_and_range_stay(how, n_channels, size, dtype):
    images = noise(64, n_channels, *size)
    images = images if dtype == torch.uint8 else images / 255

    out = augment(images, how, generator())

    assert out.shape == images.shape
    assert out.dtype == dtype
    assert 0 <= out.min() <= out.max() <= (255 if dtype == torch.uint8 else 1)


@pytest.mark.parametrize("how", ["crop", "flip_crop", "trivial"])
def test_same_seed_gives_the_same_images_whatever_else_draws(how):
    images = noise()
    first = augment(images, how, generator(3))
    torch.rand(5)

    assert torch.equal(augment(images, how, generator(3)), first)
    assert not torch.equal(augment(images, how, generator(4)), first)
    assert torch.equal(images, noise())


@pytest.mark.parametrize("how", ["crop", "flip_crop", "trivial"])
def test_the_global_generator_is_left_alone(how):
    before = torch.get_rng_state()

    augment(noise(), how, generator())

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("how", ["crop", "flip_crop", "trivial"])
def test_each_image_changes_in_its_own_way(how):
    images = noise(1).expand(64, -1, -1, -1)

    out = augment(images, how, generator())

    assert len({tuple(image.flatten().tolist()) for image in out}) > 32


def test_floats_change_as_bytes_do():
    images = noise()

    for how in ("flip_crop", "trivial"):
        floats = augment(images / 255, how, generator())
        assert torch.equal((floats * 255).round().byte(), augment(images, how, generator()))


def test_nothing_is_done_for_none_and_for_no_images():
    images = noise()

    assert augment(images, "none", generator()) is images
    assert len(augment(images[:0], "trivial", generator())) == 0


def test_flip_crop_gives_windows_of_the_mirrored_image():
    image = noise(1, 3, 16, 24)
    padded = torch.nn.functional.pad(image.float(), (3, 3, 2, 2), mode="reflect").byte()[0]
    windows = [padded[:, y : y + 16, x : x + 24] for y in range(5) for x in range(7)]
    possible = {tuple(w.flatten().tolist()) for v in windows for w in (v, v.flip(2))}

    out = augment(image.expand(2000, -1, -1, -1), "flip_crop", generator())

    assert {tuple(image.flatten().tolist()) for image in out} == possible
    assert len(possible) == 70


@pytest.mark.parametrize("n_channels", [1, 3])
def test_trivial_does_every_operation_equally_often(n_channels, monkeypatch):
    seen = []
    for name in ("_move", "_blend", "_tone"):
        done = getattr(module, name)

        def spy(images, chosen, strength, done=done):
            names = [chosen] * len(images)
            if not isinstance(chosen, str):
                names = [OPERATIONS[number] for number in chosen.tolist()]
            seen.extend(names)
            return done(images, chosen, strength)

        monkeypatch.setattr(module, name, spy)
    expected = set(OPERATIONS) - {"identity"} - ({"colour"} if n_channels == 1 else set())

    augment(noise(2800, n_channels, 4, 4), "trivial", generator())

    assert set(seen) == expected
    assert all(140 < seen.count(name) < 275 for name in expected)


def by_torchvision(name, image, signed):
    shear = math.degrees(math.atan(0.99 * signed))
    affine = {
        "shear_x": {"shear": [shear, 0.0], "center": [0, 0], "translate": [0, 0]},
        "shear_y": {"shear": [0.0, shear], "center": [0, 0], "translate": [0, 0]},
        "translate_x": {"shear": [0.0, 0.0], "translate": [int(32 * signed), 0]},
        "translate_y": {"shear": [0.0, 0.0], "translate": [0, int(32 * signed)]},
    }
    adjust = {
        "brightness": "brightness",
        "contrast": "contrast",
        "sharpness": "sharpness",
        "colour": "saturation",
    }
    if name in affine:
        return functional.affine(image, angle=0.0, scale=1.0, **affine[name])
    if name in adjust:
        return getattr(functional, f"adjust_{adjust[name]}")(image, 1 + 0.99 * signed)
    if name == "rotate":
        return functional.rotate(image, 135 * signed)
    strength = abs(signed)
    if name == "posterize":
        return functional.posterize(image, round(8 - 6 * strength))
    if name == "solarize":
        return functional.solarize(image, 255 * (1 - strength))
    return getattr(functional, name)(image)


@pytest.mark.parametrize("name", OPERATIONS[1:])
def test_operations_are_those_of_torchvision(name):
    images = noise(N_STRENGTHS)
    chosen = torch.full((N_STRENGTHS,), OPERATIONS.index(name))

    if OPERATIONS.index(name) < 6:
        out = module._move(images, chosen, SIGNED)
    elif name in ("brightness", "contrast", "sharpness", "colour"):
        out = module._blend(images, name, SIGNED)
    else:
        out = module._tone(images, name, SIGNED.abs())

    expected = torch.stack(
        [by_torchvision(name, *pair) for pair in zip(images, SIGNED.tolist(), strict=True)]
    )
    # A value or place that falls between two may round either way.
    far = (out.int() - expected.int()).abs() > 1
    assert far.float().mean() < 0.001


def test_shifts_are_no_longer_than_a_small_image():
    images = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    chosen = torch.tensor([OPERATIONS.index("translate_x")])

    shown = [module._move(images, chosen, torch.tensor([s])).count_nonzero() for s in (0.5, 0.9)]

    assert shown == [32, 8]


@pytest.mark.parametrize(
    ("images", "how", "words"),
    [
        (noise(), "trival", "how must be one of none, crop, flip_crop, trivial.*mean 'trivial'"),
        (noise()[0], "trivial", r"got \(3, 32, 48\); give one image as image\[None\]"),
        (noise(n_channels=2), "flip_crop", r"got \(32, 2, 32, 48\)"),
    ],
    ids=["misspelt", "one-image", "two-channels"],
)
def test_other_input_is_refused(images, how, words):
    with pytest.raises(ValueError, match=words):
        augment(images, how, generator())


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["crop", "flip_crop", "trivial"])
def test_draws_of_a_cpu_generator_are_the_same_on_a_gpu(how):
    images = noise(256)

    there = augment(images.cuda(), how, generator())

    assert there.is_cuda
    differ = (there.cpu().int() - augment(images, how, generator()).int()).abs() > 1
    assert differ.float().mean() < 0.001
