"""Load the result of a stored study, with its best model, in a new process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from optuna.storages import BaseStorage

from tuner.artifacts import Artifacts, ArtifactStore, check_artifact_store, default_folder
from tuner.call import recorded_call
from tuner.records import finished
from tuner.result import TuningResult
from tuner.storage import storage_errors
from tuner.study import load_study


def load_result(
    storage: str | os.PathLike[str] | BaseStorage,
    study_name: str | None = None,
    *,
    data: Any = None,
    build: Callable[..., Any] | None = None,
    artifact_store: str | os.PathLike[str] | ArtifactStore | None = None,
) -> TuningResult:
    """Load the result of a study, without the call that made it and without training.

    Tables, figures, diagnosis and ``model`` come from what is stored. What needs the data as well
    (``test_score``, ``refit``, ``confirm``, ``try_params``) makes the recorded call again, where it
    was made of plain values: a file's path or a built-in name as dataset.

    Args:
        storage: a ``.journal`` or ``.db`` file, a URL, or a storage.
        study_name: of the study; may be left out where the storage holds only one.
        data: the dataset, where it lies elsewhere here or was in memory.
        build: the function that made the module, for a study of `tuner.tune_module`.
        artifact_store: where the search kept its model; by default the folder beside the study's
            file.

    Raises:
        ValueError: if there is no such study, none at all, or several and no name was given.
        FileNotFoundError: if a storage file does not exist.

    Example:
        >>> import tempfile
        >>> from tuner import tune_mlp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/iris.journal"
        ...     _ = tune_mlp("iris", storage=path, n_trials=2, epochs=2, show_progress_bar=False)
        ...     load_result(path).model.predict([[5.1, 3.5, 1.4, 0.2]]).shape
        (1,)
    """
    check_artifact_store(artifact_store)
    with storage_errors(storage):
        study = load_study(storage, study_name)

    def rebuild() -> TuningResult:
        import tuner

        entry, dataset, options = recorded_call(study, data=data)
        options |= {
            "storage": storage, "study_name": study.study_name, "artifact_store": artifact_store,
            "n_trials": max(1, len(finished(study))), "show_progress_bar": False,
        }  # fmt: skip
        result: TuningResult = getattr(tuner, entry)(dataset, **options)
        return result

    where = default_folder(storage) if artifact_store is None else artifact_store
    return TuningResult(
        study=study, objective=None, model=None, rebuild=rebuild, build=build,
        artifacts=Artifacts(where),
    )  # fmt: skip
