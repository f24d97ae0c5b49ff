"""The commands that begin a search; `tuner.cli.run` does it.

Their arguments stand here for typer, which reads them off the signature; their values are taken
from the context, since a configuration file may have a say in them.
"""

from __future__ import annotations

import typer

from tuner.cli import options as o
from tuner.cli.run import search_by_command


def mlp(
    ctx: typer.Context, data: o.Table = None, config: o.Config = None, target: o.Target = None,
    task: o.Task = None, metric: o.Metric = None, sampler: o.Sampler = "tpe",
    pruner: o.Pruner = "median", n_trials: o.NTrials = None, timeout: o.Timeout = None,
    epochs: o.Epochs = None, patience: o.Patience = 20, n_jobs: o.NJobs = 1,
    n_repeats: o.NRepeats = 1, folds: o.Folds = None, recipe: o.Recipe = "modern",
    precision: o.Precision = "float32",
    seed: o.Seed = 0, storage: o.Storage = None, study_name: o.NewStudyName = "mlp",
    start_from: o.StartFrom = None, checkpoint: o.Checkpoint = None,
    artifact_store: o.ArtifactStore = None,
    space: o.Space = None, fix: o.Fix = None, trials: o.Trials = None, out: o.Out = None,
    save_model: o.SaveModel = None, quiet: o.Quiet = False, as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Tune a multilayer perceptron on a table and print the best configuration."""
    search_by_command("tune_mlp", ctx)


def cnn(
    ctx: typer.Context, data: o.Images = None, config: o.Config = None, metric: o.Metric = None,
    sampler: o.Sampler = "tpe", pruner: o.Pruner = "median",
    n_trials: o.NTrials = None, timeout: o.Timeout = None, epochs: o.Epochs = None,
    patience: o.Patience = 10, image_size: o.ImageSize = None, n_jobs: o.NJobs = 1,
    seed: o.Seed = 0, storage: o.Storage = None, study_name: o.NewStudyName = "cnn",
    start_from: o.StartFrom = None, checkpoint: o.Checkpoint = None,
    artifact_store: o.ArtifactStore = None,
    space: o.Space = None, fix: o.Fix = None, trials: o.Trials = None, out: o.Out = None,
    save_model: o.SaveModel = None, quiet: o.Quiet = False, as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Tune a small residual network on images and print the best configuration."""
    search_by_command("tune_cnn", ctx)


def finetune(
    ctx: typer.Context, data: o.Images = None, config: o.Config = None,
    backbone: o.Backbone = "resnet18", weights: o.Weights = "DEFAULT",
    metric: o.Metric = None, sampler: o.Sampler = "tpe", pruner: o.Pruner = "median",
    n_trials: o.NTrials = None, timeout: o.Timeout = None, epochs: o.Epochs = None,
    patience: o.Patience = 5, image_size: o.ImageSize = None, n_jobs: o.NJobs = 1,
    seed: o.Seed = 0, storage: o.Storage = None, study_name: o.NewStudyName = "finetune",
    start_from: o.StartFrom = None, checkpoint: o.Checkpoint = None,
    artifact_store: o.ArtifactStore = None,
    space: o.Space = None, fix: o.Fix = None, trials: o.Trials = None, out: o.Out = None,
    save_model: o.SaveModel = None, quiet: o.Quiet = False, as_json: o.AsJson = False,
) -> None:  # fmt: skip
    """Fine-tune a pretrained network of torchvision on images and print the best configuration."""
    search_by_command("tune_finetune", ctx)
