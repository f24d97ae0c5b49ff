"""Model files: one zip of JSON, safetensors and skops, in which nothing is a program.

A file is judged before it is used: its members and their sizes, its version, the types that the
encoder names. What remains is numbers and names, so a file from a stranger cannot run anything.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import sklearn
import skops.io
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from sklearn.compose import ColumnTransformer
from torch import Tensor

from objectives._files import check_target, replace_file
from objectives.data.encoders import TRUSTED_TYPES, TabularEncoder, TargetScaler
from objectives.models.inputs import TableInputs
from objectives.training.stacked_mlp import StackedMLP

FORMAT = "fusetune model"
VERSION = 1
MAX_LABEL_BYTES = 2**16  # an altered file could ask for labels that fill the memory
MODEL, WEIGHTS = "model.json", "weights.safetensors"
ALLOWED_TYPES = frozenset({*TRUSTED_TYPES, "numpy.dtype"})

# What zipfile, json, safetensors, skops and torch raise for bytes that are not what they should be.
DECODING_ERRORS = (
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class _RefusedError(ValueError):
    """A file that is not a model; the message says why, as the end of a sentence."""


def write_model(
    path: str | os.PathLike[str],
    *,
    header: Mapping[str, Any],
    network: StackedMLP,
    encoders: Sequence[TabularEncoder],
    classes: NDArray[Any] | None,
    target_scaler: TargetScaler | None,
) -> None:
    """Write a model file at once: a reader sees the old file or the new one, never half of one.

    Args:
        path: file to write or to replace; its folder must be there.
        header: the rest of what the model knows, in plain JSON types.
        network: weights and configuration.
        encoders: fitted preprocessing, one or one a fold.
        classes: labels in code order, or None in regression.
        target_scaler: units of the target, or None for classes.

    Raises:
        ValueError: if the folder does not exist, or ``path`` is a folder.
    """
    check_target(path)  # before the work
    record = {
        "format": FORMAT,
        "version": VERSION,
        **header,
        "classes": None if classes is None else pack_labels(classes),
        "target_scaler": None if target_scaler is None else vars(target_scaler),
        "network": network.config,
        "encoders": [encoder_fields(encoder) for encoder in encoders],
        "libraries": {m.__name__: str(m.__version__) for m in (np, sklearn, skops, torch)},
    }
    members = {
        MODEL: json.dumps(record, indent=1, allow_nan=False).encode(),
        WEIGHTS: safetensors.torch.save(dict(network.state_dict())),
        **{_encoder_name(k): skops.io.dumps(e.transformer) for k, e in enumerate(encoders)},
    }
    replace_file(path, _zipped(members))


def read_model(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a model file without running anything that it holds.

    Args:
        path: a file that `write_model` wrote.

    Returns:
        The header's entries, and "network", "encoders", "classes", "target_scaler" as objects.

    Raises:
        ValueError: if there is no such file, or it is not a model file, is of a later version,
            damaged, or altered to hold other types.
    """
    if not Path(path).is_file():
        raise ValueError(f"path must be an existing file, got path={str(path)!r}; check the name")
    with _refusing(path):
        return _decode(Path(path))


def read_encoder(
    path: str | os.PathLike[str], fields: Mapping[str, Any], content: bytes
) -> TabularEncoder:
    """Read an encoder from the skops bytes that a file holds, without running anything in them.

    Args:
        path: of the file, for messages.
        fields: what `encoder_fields` gave.
        content: the bytes of its transformer.

    Raises:
        ValueError: if they are damaged, or altered to hold other types.
    """
    with _refusing(path):
        return _encoder(fields, content)


@contextmanager
def _refusing(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except DECODING_ERRORS as error:
        known = isinstance(error, _RefusedError)
        reason = error if known else "is damaged or was altered; save the model again"
        raise ValueError(
            f"path must be a file that FittedModel.save wrote, got path={str(path)!r}, "
            f"which {reason}"
        ) from error


def _zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _decode(path: Path) -> dict[str, Any]:
    members = _read_members(path)
    record = json.loads(members[MODEL])
    if record["format"] != FORMAT:
        raise _RefusedError("is another kind of file")
    if record["version"] != VERSION:
        raise _RefusedError(f"has version {record['version']}, not {VERSION}; update fusetune")
    _check_record(record)
    scaler, labels = record["target_scaler"], record["classes"]
    decoded = {
        "classes": None if labels is None else unpack_labels(**labels),
        "target_scaler": None if scaler is None else TargetScaler(**scaler),
        "network": _network(record["network"], members[WEIGHTS]),
        "encoders": _encoders(record["encoders"], members, record["network"]),
    }
    return {**record, **decoded}


def _check_record(record: dict[str, Any]) -> None:
    labels, n_outputs = record["classes"], record["network"]["n_outputs"]
    n_labels = 1 if labels is None else len(labels["values"])
    task = "regression" if labels is None else "binary" if n_labels == 2 else "multiclass"
    texts = [record["metric"], *record["feature_names"], *record["input_columns"]]
    sound = (
        record["task"] == task
        and n_outputs == (1 if n_labels <= 2 else n_labels)
        and all(isinstance(text, str) for text in texts)
        and isinstance(record["params"], dict)
    )
    if not sound:
        raise _RefusedError("contradicts itself; save the model again")


def _read_members(path: Path) -> dict[str, bytes]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise _RefusedError("is another kind of file, or cut off") from error
    with archive:
        names = sorted(archive.namelist())
        n_encoders = max(1, len(names) - 2)
        if names != sorted((MODEL, WEIGHTS, *map(_encoder_name, range(n_encoders)))):
            listed = ", ".join(names[:3]) or "nothing"
            raise _RefusedError(f"is another kind of file, or cut off: it holds {listed}")
        _check_sizes(archive, path.stat().st_size)
        return {name: archive.read(name) for name in names}


def _check_sizes(archive: zipfile.ZipFile, n_bytes: int) -> None:
    """Refuse members that together claim more bytes than the file has, as a zip bomb does."""
    if sum(member.file_size for member in archive.infolist()) > n_bytes:
        raise _RefusedError("holds members larger than itself; do not use it")


def _network(config: dict[str, Any], weights: bytes) -> StackedMLP:
    tensors = safetensors.torch.load(weights)
    sizes = [value for value in config.values() if isinstance(value, int)]
    if max(sizes, default=0) > len(weights):
        raise _RefusedError("describes a network larger than its weights; do not use it")
    with torch.device("meta"):  # costs no memory, whatever shape an altered file asks for
        network = StackedMLP.from_config(config)
    expected = {name: (t.shape, t.dtype) for name, t in network.state_dict().items()}
    if expected != {name: (t.shape, t.dtype) for name, t in tensors.items()}:
        raise _RefusedError("holds weights of another network; save the model again")
    network.load_state_dict(tensors, assign=True)
    return network


def _encoder_name(number: int) -> str:
    return f"encoder_{number}.skops"


def encoder_fields(encoder: TabularEncoder) -> dict[str, Any]:
    """Return what an encoder knows beside its transformer, as plain JSON types."""
    return {key: value for key, value in vars(encoder).items() if key != "transformer"}


def _encoders(
    fields: list[dict[str, Any]], members: Mapping[str, bytes], network: Mapping[str, Any]
) -> list[TabularEncoder]:
    widths = [entry["n_outputs"] for entry in fields]
    sound = len(fields) == len(members) - 2 and len(network["activations"]) % len(fields) == 0
    if not sound or max(widths) != network["n_inputs"]:
        raise _RefusedError("holds the encoder of another model; save the model again")
    return [_encoder(entry, members[_encoder_name(k)]) for k, entry in enumerate(fields)]


def _encoder(fields: Mapping[str, Any], content: bytes) -> TabularEncoder:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        _check_sizes(archive, len(content))
    foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - ALLOWED_TYPES)
    if foreign:
        raise _RefusedError(f"names the type {foreign[0]}, which no model holds; do not use it")
    transformer = skops.io.loads(content, trusted=sorted(ALLOWED_TYPES))
    if not isinstance(transformer, ColumnTransformer):
        raise _RefusedError("holds the encoder of another model; save the model again")
    columns = tuple(fields["columns"])
    return TabularEncoder(**{**fields, "columns": columns, "transformer": transformer})


def pack_labels(labels: NDArray[Any]) -> dict[str, Any]:
    """Return class labels as plain JSON types."""
    # latin-1 maps each byte to one character and back
    text = np.char.decode(labels, "latin-1") if labels.dtype.kind == "S" else labels
    values = [label.item() if isinstance(label, np.generic) else label for label in text.tolist()]
    return {"dtype": labels.dtype.str, "values": values}


def unpack_labels(dtype: str, values: list[Any]) -> NDArray[Any]:
    """Return what `pack_labels` was given."""
    kind = np.dtype(dtype)
    if kind.kind not in "biufOSU" or kind.itemsize > MAX_LABEL_BYTES:
        raise _RefusedError(f"holds labels of type {dtype!r}; save the model again")
    text = np.char.encode(values, "latin-1") if kind.kind == "S" else values
    labels = np.array(text, dtype=kind)
    if labels.ndim != 1:
        raise _RefusedError("holds nested labels; save the model again")
    return labels


_KEY, _FORMAT, _VERSION = "fusetune", "fusetune module", 1
_ENCODER = "fusetune encoder"  # no name of a weight has a space


def write_module(
    path: str | os.PathLike[str],
    *,
    record: Mapping[str, Any],
    state: Mapping[str, Tensor],
    table: TableInputs | None,
) -> None:
    """Write weights and description at once, see `objectives._files.replace_file`.

    Args:
        path: file to write or to replace; its folder must be there.
        record: the description, in plain JSON types.
        state: the weights.
        table: turns tables into inputs; None for modules of arrays and images.

    Raises:
        ValueError: if the folder does not exist, or ``path`` is a folder.
    """
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    described = {"format": _FORMAT, "version": _VERSION, **record, "table": None}
    if table is not None:
        described["table"] = {
            "columns": table.columns,
            "input_columns": table.input_columns,
            "encoder": encoder_fields(table.encoder),
        }
        content = np.frombuffer(skops.io.dumps(table.encoder.transformer), dtype=np.uint8)
        tensors[_ENCODER] = torch.from_numpy(content.copy())
    header = {_KEY: json.dumps(described, allow_nan=False)}
    replace_file(path, safetensors.torch.save(tensors, metadata=header))


def read_module(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, Tensor], TableInputs | None]:
    """Return the description, the weights and what encodes tables; nothing in the file is run.

    Raises:
        ValueError: if there is no such file, or it is no such file, damaged or altered.
    """
    if not Path(path).is_file():
        raise ValueError(f"path must be an existing file, got path={str(path)!r}; check the name")
    content = Path(path).read_bytes()
    with told_as_damage(path):
        state = safetensors.torch.load(content)
        size = int.from_bytes(content[:8], "little")
        record = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY])
        known = record["format"] == _FORMAT and record["version"] == _VERSION
        encoder = state.pop(_ENCODER).numpy().tobytes() if record["table"] else b""
    if not known:
        raise ValueError(f"path must be a file of version {_VERSION}, got path={str(path)!r}")
    return record, state, _table(path, record["table"], encoder)


@contextmanager
def told_as_damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one sentence that a file is damaged or no model, whatever reading it raised."""
    try:
        yield
    except DECODING_ERRORS as error:
        raise ValueError(
            f"path must be a file that FittedModule.save wrote, got path={str(path)!r}, which is "
            "another kind of file or damaged; save the model again"
        ) from error


def _table(
    path: str | os.PathLike[str], fields: Mapping[str, Any] | None, content: bytes
) -> TableInputs | None:
    if fields is None:
        return None
    encoder = read_encoder(path, fields["encoder"], content)
    return TableInputs(
        columns=tuple(fields["columns"]),
        input_columns=tuple(fields["input_columns"]),
        encoder=encoder,
    )
