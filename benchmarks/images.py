"""Default and tuned residual networks on real images, and epochs a second beside a plain loop.

Run from the repository root, with the folder of the image datasets:

    python benchmarks/images.py ../shared/data --seconds 600

Each search gets so many seconds. The plain loop trains the same network at the same batch size with
torch's DataLoader and torchvision's transforms, in the same process, turn by turn with ours.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from objectives.cnn import CNNObjective
from objectives.images.data import ImageData
from objectives.images.load import load_images
from objectives.space.space import defaults
from tuner import tune_cnn

N_ROUNDS = 3


def load(folder: Path, scratch: Path) -> ImageData:
    """Load one dataset: an .npz of X and y, a zip of class folders, or a folder of them."""
    for path in folder.glob("*.npz"):
        arrays = np.load(path)
        return load_images((arrays["X"], arrays["y"]))
    for path in folder.glob("*.zip"):
        zipfile.ZipFile(path).extractall(scratch)
        root = scratch
        while len(inside := [p for p in root.iterdir() if p.is_dir()]) == 1:
            root = inside[0]
        return load_images(root)
    return load_images(folder)


class Plain(Dataset[tuple[torch.Tensor, int]]):
    """Training images as a plain script has them: one at a time, through torchvision.

    Args:
        data: the images.
        augmentation: what ours does to them: nothing, a shift, or a shift and mirror.
    """

    def __init__(self, data: ImageData, augmentation: str) -> None:
        self.images, self.y = data.train.images, data.train.y
        padding = [max(1, side // 8) for side in reversed(data.image_size)]
        shift = v2.RandomCrop(data.image_size, padding, padding_mode="reflect")
        changes = {"none": [], "crop": [shift], "flip_crop": [v2.RandomHorizontalFlip(), shift]}
        self.change = v2.Compose(changes[augmentation] or [v2.Identity()])

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        """Return one image and its class."""
        assert self.images is not None
        return self.change(self.images[row]), int(self.y[row])


def plain_loss(outputs: torch.Tensor, y: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return the loss of many classes, or of two by one output."""
    if outputs.shape[1] > 1:
        return nn.functional.cross_entropy(outputs, y, label_smoothing=smoothing)
    target = y.float() * (1 - smoothing) + smoothing / 2
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], target)


def plain_epoch(
    module: nn.Module, optimizer: torch.optim.Optimizer, loader: Any, data: ImageData
) -> float:
    """Train and validate for one epoch as a plain script does; return the seconds."""
    start = time.perf_counter()
    module.train()
    for images, y in loader:
        optimizer.zero_grad()
        plain_loss(module(images), y, 0.1).backward()
        optimizer.step()
    module.eval()
    valid = torch.from_numpy(data.valid.y)
    n_right, loss = 0, 0.0
    with torch.no_grad():
        for rows in torch.arange(len(data.valid)).split(512):
            outputs = module(data.valid.batch(rows))
            found = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
            n_right += int((found == valid[rows]).sum())
            loss += float(plain_loss(outputs, valid[rows], 0.0)) * len(rows)
    return time.perf_counter() - start


def speeds(data: ImageData) -> tuple[float, float]:
    """Return epochs a second, median of a few: ours and the plain loop's."""
    objective = CNNObjective(data)
    params = defaults(objective.space)
    cohort = objective.cohort(seed=0)
    cohort.add(0, params)
    module = objective._build(params).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    images = Plain(data, str(params["augmentation"]))
    loader = DataLoader(images, batch_size=int(params["batch_size"]), shuffle=True)
    ours, plain = [], []
    for _ in range(N_ROUNDS):
        ours.append(cohort.train_epoch()[0].duration_s)
        plain.append(plain_epoch(module, optimizer, loader, data))
    return 1 / statistics.median(ours), 1 / statistics.median(plain)


def test_accuracy(objective: CNNObjective, params: dict[str, Any]) -> float:
    """Train one configuration to its best epoch and return its test accuracy."""
    cohort = objective.cohort(seed=0)
    cohort.add(0, params)
    while cohort.train_epoch()[0].stopped is None:
        pass
    test = objective.data.open_test()
    return cohort.model(0).score(test.X, objective.data.classes[test.y], "accuracy")  # type: ignore[index]


def main() -> None:
    """Print one row a dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument(
        "--names",
        nargs="+",
        default=["mnist_t10k", "sign_digits48", "cifar10_sub12k", "hymenoptera160"],
    )
    options = parser.parse_args()
    print(f"{'set':16} default  tuned trials pruned  epochs/s  plain  ratio")
    for name in options.names:
        with tempfile.TemporaryDirectory() as scratch:
            data = load(options.folder / name, Path(scratch))
        ours, plain = speeds(data)
        result = tune_cnn(data, timeout=options.seconds, show_progress_bar=False)
        frame = result.trials_dataframe()
        objective = result.objective
        default = test_accuracy(objective, defaults(objective.space))
        tuned = float(result.test_score())
        n_pruned = int((frame["state"] == "PRUNED").sum())
        print(
            f"{name:16} {default:.4f} {tuned:.4f} {len(frame):6} {n_pruned:6} {ours:9.2f} "
            f"{plain:6.2f} {ours / plain:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
