"""Where a study's files lie: checkpoints of trials under way, and the best trial's model."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.artifacts import FileSystemArtifactStore, download_artifact, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState

from objectives._messages import warn_caller
from tuner.storage.trial_attrs import MODEL, best_complete, model_id

ArtifactStore: TypeAlias = Any  # Optuna keeps its protocol of this name to itself.


def check_artifact_store(artifact_store: str | os.PathLike[str] | ArtifactStore | None) -> None:
    """Raise TypeError unless ``artifact_store`` is None, a folder's path or one of Optuna's."""
    needed = ("open_reader", "write", "remove")
    if artifact_store is None or isinstance(artifact_store, str | os.PathLike):
        return
    if not all(hasattr(artifact_store, name) for name in needed):
        raise TypeError(
            "artifact_store must be a folder or an artifact store of optuna.artifacts, got "
            f"{type(artifact_store).__name__}"
        )


def default_folder(storage: Any) -> str | None:
    """Return the folder beside a study's file; None for a storage that is no file.

    Example:
        >>> default_folder("/studies/digits.journal")
        '/studies/digits.journal.artifacts'
    """
    path = str(storage) if isinstance(storage, str | os.PathLike) else ""
    if path.startswith("sqlite:///"):
        path = path.removeprefix("sqlite:///").partition("?")[0]
    if not path or "://" in path:
        return None
    return f"{Path(path).absolute()}.artifacts"


class Artifacts:
    """A study's files in an artifact store of Optuna's.

    Args:
        artifact_store: a folder, made when the first file is written; an artifact store; or None,
            with which nothing is kept.
    """

    def __init__(self, artifact_store: str | os.PathLike[str] | ArtifactStore | None) -> None:
        self._folder: Path | None = None
        self._store: ArtifactStore = artifact_store
        if isinstance(artifact_store, str | os.PathLike):
            self._folder = Path(artifact_store)
            self._store = FileSystemArtifactStore(self._folder)

    def __bool__(self) -> bool:
        """Whether anything can be kept."""
        return self._store is not None

    def write(self, artifact_id: str, content: bytes) -> None:
        """Write a file, over an older one of that id."""
        self._ready().write(artifact_id, io.BytesIO(content))

    def read(self, artifact_id: str) -> bytes | None:
        """Return a file's content; None if there is none of that id."""
        try:
            with self._store.open_reader(artifact_id) as file:
                return bytes(file.read())
        except ArtifactNotFound:
            return None

    def remove(self, *artifact_ids: str) -> None:
        """Remove files; one that is not there is no error, and one that stays is a warning."""
        for artifact_id in artifact_ids:
            try:
                self._store.remove(artifact_id)
            except ArtifactNotFound:
                continue
            except Exception as error:  # a store of the user's own may raise anything
                _warn_once(f"a file of the study that is no longer needed stays ({error})")

    def keep_model(self, trial: optuna.Trial, model: Any) -> None:
        """Keep the model of a trial that is about to be the best, as an artifact of the trial.

        What goes wrong here, be it a full disk or a model that no file can hold, is a warning: the
        search continues, and the model can be trained again from its seed.
        """
        self._upload(trial, model, f"trial-{trial.number}")

    def keep_chosen(self, study: optuna.Study, model: Any | None) -> None:
        """Keep the model that a search's result predicts with, in place of an earlier one."""
        earlier = _of_study(study)
        if model is not None:
            self._upload(study, model, "chosen")
        elif earlier is not None:
            study.set_user_attr(MODEL, None)
        if self and earlier is not None:
            self.remove(earlier)

    def _upload(self, owner: optuna.Trial | optuna.Study, model: Any, name: str) -> None:
        suffix = getattr(model, "suffix", None)  # an objective of one's own may have no such model
        if not self or suffix is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}{suffix}"
            try:
                model.save(path)
                artifact_id = upload_artifact(
                    artifact_store=self._ready(), file_path=str(path), study_or_trial=owner
                )
            except Exception as error:  # a store of the user's own may raise anything
                _warn_once(f"the best model cannot be kept with the study ({error})")
                return
        owner.set_user_attr(MODEL, artifact_id)

    def model(self, owner: FrozenTrial | optuna.Study, load: Callable[[Path], Any]) -> Any | None:
        """Return the model of a trial, or the chosen one of a study, as ``load`` reads it from a
        file; None if none was kept.

        A damaged one is a warning, and None.
        """
        artifact_id = model_id(owner) if isinstance(owner, FrozenTrial) else _of_study(owner)
        if not self or artifact_id is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            try:
                download_artifact(
                    artifact_store=self._store, file_path=str(path), artifact_id=artifact_id
                )
                return load(path)
            except ArtifactNotFound:
                return None
            except Exception as error:  # of the store, or of a file that is damaged
                warn_caller(f"the model kept with {_name(owner)} cannot be used ({error})")
                return None

    def clear_models(self, study: optuna.Study) -> None:
        """Remove the models of trials that are no longer the best."""
        if not self:
            return
        best = best_complete(study)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        kept = {trial.number: model_id(trial) for trial in complete}
        self.remove(
            *(
                id_
                for number, id_ in kept.items()
                if id_ is not None and (best is None or number != best.number)
            )
        )

    def _ready(self) -> ArtifactStore:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._store


def _of_study(study: optuna.Study) -> str | None:
    artifact_id = study.user_attrs.get(MODEL)
    return artifact_id if isinstance(artifact_id, str) else None


def _name(owner: FrozenTrial | optuna.Study) -> str:
    return f"trial {owner.number}" if isinstance(owner, FrozenTrial) else "the study"


def _warn_once(text: str) -> None:
    if text not in _WARNED:
        _WARNED.add(text)
        warn_caller(text)


_WARNED: set[str] = set()
