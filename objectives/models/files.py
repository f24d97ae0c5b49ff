"""Model files, in which nothing is a program: JSON and safetensors, and skops in earlier ones.

A `FittedModel` is a zip of them; a `FittedModule` is a safetensors file with its description in the
header. A file is judged before it is used: its format, the sizes it claims against its own bytes,
the types its encoder names. What remains is numbers and names, so a file from a stranger runs
nothing and takes little more memory than its size.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from objectives.data.encoders import TRUSTED_TYPES, Part, Parts, TabularEncoder, TargetScaler
from objectives.data.files import check_target, replace_file
from objectives.training.stacked_mlp import StackedMLP

Labels: TypeAlias = np.ndarray
Record: TypeAlias = dict[str, Any]
"""What a file says of its model, in plain JSON types."""

Path_: TypeAlias = "str | os.PathLike[str]"

VERSION = 2
"""Files of version 1 have the parts of encoders as skops writes scikit-learn's transformers."""

MODEL, WEIGHTS, ENSEMBLE = "model.json", "weights.safetensors", "ensemble.json"
MAX_LABEL_BYTES = 2**16
_MODEL_FORMAT, _MODULE_FORMAT = "fusetune model", "fusetune module"
_KEY = "fusetune"  # of the description in a safetensors header
_ENCODER = "fusetune encoder"  # no name of a weight has a space
_ALLOWED_TYPES = frozenset({*TRUSTED_TYPES, "numpy.dtype"})

# What zipfile, json, safetensors, skops and torch raise for bytes that are not what they should be.
_DECODING_ERRORS = (
    *(AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError, OverflowError),
    *(RuntimeError, TypeError, ValueError),  # RecursionError is a RuntimeError
    *(SafetensorError, struct.error, zipfile.BadZipFile, zlib.error),
)


class RefusedError(ValueError):
    """A file that is no model; the message says why, as the end of a sentence."""


@contextmanager
def refusing(path: Path_, writer: str) -> Iterator[None]:
    """Say in one sentence why a file is not one that ``writer`` wrote, whatever reading it raised.

    Raises:
        ValueError: if there is no such file, or reading it fails.
    """
    if not Path(path).is_file():
        raise ValueError(f"path must be an existing file, got path={str(path)!r}; check the name")
    try:
        yield
    except _DECODING_ERRORS as error:
        is_known = isinstance(error, RefusedError)
        reason = error if is_known else "is damaged or was altered; save the model again"
        raise ValueError(
            f"path must be a file that {writer} wrote, got path={str(path)!r}, which {reason}"
        ) from error


def write_model(
    path: Path_,
    *,
    record: Mapping[str, Any],
    network: StackedMLP,
    encoders: Sequence[TabularEncoder],
) -> None:
    """Write a model file at once: a reader sees the old file or the new one, never half of one.

    Raises:
        ValueError: if the folder does not exist, or ``path`` is a folder.
    """
    check_target(path)  # before the work
    described = {
        "format": _MODEL_FORMAT,
        "version": VERSION,
        **record,
        "network": network.config,
        "encoders": [_encoder_fields(encoder) for encoder in encoders],
        "libraries": {n: version(n) for n in ("numpy", "torch")},
    }
    members = {
        MODEL: json.dumps(described, indent=1, allow_nan=False).encode(),
        WEIGHTS: safetensors.torch.save(dict(network.state_dict())),
    }
    for k, content in enumerate(map(_saved, encoders)):
        members[f"{_encoder_name(k)}.{'skops' if _is_skops(content) else 'json'}"] = content
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    replace_file(path, buffer.getvalue())


def read_model(path: Path_) -> Record:
    """Return the arguments of a `FittedModel`, its metric by name, without running anything.

    Raises:
        ValueError: if there is no such file, or it is not a model file, is of a later version,
            damaged, or altered to hold other types.
    """
    with refusing(path, "FittedModel.save"):
        members = _read_members(Path(path))
        record = _checked(json.loads(members[MODEL]), _MODEL_FORMAT)
        _check_record(record)
        return {
            "network": _network(record["network"], members[WEIGHTS]),
            "encoders": _encoders(record["encoders"], members, record["network"]),
            "classes": unpack_labels(record["classes"], sum(map(len, members.values()))),
            "target_scaler": unpack_scaler(record["target_scaler"]),
            "temperature": read_temperature(record),
            "threshold": read_threshold(record),
            **{
                name: record[name]
                for name in ("task", "metric", "params", "feature_names", "input_columns")
            },
        }


def read_temperature(record: Record) -> float:
    """Return the temperature that a file gives; files of earlier versions give none."""
    temperature = float(record.get("temperature", 1.0))
    if not 0 < temperature < math.inf:
        raise RefusedError("contradicts itself; save the model again")
    return temperature


def read_threshold(record: Record) -> float:
    """Return the threshold that a file gives; files of earlier versions give none."""
    threshold = float(record.get("threshold", 0.5))
    if not 0 < threshold < 1:
        raise RefusedError("contradicts itself; save the model again")
    return threshold


def is_ensemble(path: Path_) -> bool:
    """Say whether a file is an ensemble's, by the names of what it holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            return ENSEMBLE in archive.namelist()
    except _DECODING_ERRORS:
        return False


def read_ensemble(path: Path_, **options: Any) -> Any:
    """Read an ensemble's file, see `objectives.models.ensemble.EnsembleModel.load`."""
    # By name: an ensemble's members are of the classes that ask for this.
    return import_module("objectives.models.ensemble").EnsembleModel.load(path, **options)


def _checked(record: Record, format_: str) -> Record:
    if record["format"] != format_:
        raise RefusedError("is another kind of file")
    if record["version"] not in range(1, VERSION + 1):
        raise RefusedError(f"has version {record['version']}, not {VERSION}; update fusetune")
    return record


def _check_record(record: Record) -> None:
    labels, n_outputs = record["classes"], record["network"]["n_outputs"]
    n_labels = 1 if labels is None else len(labels["values"])
    task = "regression" if labels is None else "binary" if n_labels == 2 else "multiclass"
    texts = [record["metric"], *record["feature_names"], *record["input_columns"]]
    is_sound = (
        record["task"] == task
        and n_outputs == (1 if n_labels <= 2 else n_labels)
        and all(isinstance(text, str) for text in texts)
        and isinstance(record["params"], dict)
    )
    if not is_sound:
        raise RefusedError("contradicts itself; save the model again")


def _read_members(path: Path) -> dict[str, bytes]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise RefusedError("is another kind of file, or cut off") from error
    with archive:
        names = sorted(archive.namelist())
        n_encoders = max(1, len(names) - 2)
        stems = [name if name in (MODEL, WEIGHTS) else _without_suffix(name) for name in names]
        if sorted(stems) != sorted((MODEL, WEIGHTS, *map(_encoder_name, range(n_encoders)))):
            listed = ", ".join(names[:3]) or "nothing"
            raise RefusedError(f"is another kind of file, or cut off: it holds {listed}")
        _check_sizes(archive, path.stat().st_size)
        return {stem: archive.read(name) for stem, name in zip(stems, names, strict=True)}


def _check_sizes(archive: zipfile.ZipFile, n_bytes: int) -> None:
    """Refuse members that together claim more bytes than the file has, as a zip bomb does."""
    if sum(member.file_size for member in archive.infolist()) > n_bytes:
        raise RefusedError("holds members larger than itself; do not use it")


def _network(config: Record, weights: bytes) -> StackedMLP:
    tensors = safetensors.torch.load(weights)
    sizes = [value for value in config.values() if isinstance(value, int)]
    if max(sizes, default=0) > len(weights):
        raise RefusedError("describes a network larger than its weights; do not use it")
    with torch.device("meta"):  # costs no memory, whatever shape an altered file asks for
        network = StackedMLP.from_config(config)
    expected = {name: (t.shape, t.dtype) for name, t in network.state_dict().items()}
    if expected != {name: (t.shape, t.dtype) for name, t in tensors.items()}:
        raise RefusedError("holds weights of another network; save the model again")
    network.load_state_dict(tensors, assign=True)
    return network


def write_module(path: Path_, record: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write weights and description at once, see `write_model`.

    What the encoder of its entry "table" has learned, if it has one, is a tensor of bytes.
    """
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    described = {"format": _MODULE_FORMAT, "version": VERSION, **record}
    if table := record["table"]:
        encoder: TabularEncoder = table["encoder"]
        described["table"] = {**table, "encoder": _encoder_fields(encoder)}
        content = np.frombuffer(_saved(encoder), dtype=np.uint8)
        tensors[_ENCODER] = torch.from_numpy(content.copy())
    header = {_KEY: json.dumps(described, allow_nan=False)}
    replace_file(path, safetensors.torch.save(tensors, metadata=header))


def read_module(content: bytes) -> tuple[Record, dict[str, Tensor], TabularEncoder | None]:
    """Return the description, the weights and what encodes tables, from the bytes of a file.

    Nothing in the file is run. Call it under `refusing`.
    """
    state = safetensors.torch.load(content)
    size = int.from_bytes(content[:8], "little")
    record = _checked(
        json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_KEY]), _MODULE_FORMAT
    )
    fields = record["table"]
    if not fields:
        return record, state, None
    encoder = _encoder(fields["encoder"], state.pop(_ENCODER).numpy().tobytes())
    return record, state, encoder


def _encoder_name(number: int) -> str:
    return f"encoder_{number}"


def _without_suffix(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return stem if suffix in ("json", "skops") else name


def _is_skops(content: bytes) -> bool:
    return content.startswith(b"PK")


def _saved(encoder: TabularEncoder) -> bytes:
    if encoder.transformer.source is None:
        return json.dumps(encoder.transformer.state(), allow_nan=False).encode()
    import skops.io  # which imports all of scikit-learn: seconds

    content: bytes = skops.io.dumps(encoder.transformer.source)
    return content


def _encoder_fields(encoder: TabularEncoder) -> Record:
    """Return what an encoder knows beside its transformer."""
    return {key: value for key, value in vars(encoder).items() if key != "transformer"}


def _encoders(
    fields: list[Record], members: Mapping[str, bytes], network: Record
) -> list[TabularEncoder]:
    widths = [entry["n_outputs"] for entry in fields]
    is_sound = len(fields) == len(members) - 2 and len(network["activations"]) % len(fields) == 0
    if not is_sound or max(widths) != network["n_inputs"]:
        raise RefusedError("holds the encoder of another model; save the model again")
    return [_encoder(entry, members[_encoder_name(k)]) for k, entry in enumerate(fields)]


def _encoder(fields: Record, content: bytes) -> TabularEncoder:
    parts = _former_parts(content) if _is_skops(content) else Parts.from_state(json.loads(content))
    columns = tuple(fields["columns"])
    encoder = TabularEncoder(**{**fields, "columns": columns, "transformer": parts})
    layout = encoder.layout
    if (layout.n_outputs, layout.n_cells) != (encoder.n_outputs, sum(parts.widths)):
        raise RefusedError("contradicts itself; save the model again")
    return encoder


def _former_parts(content: bytes) -> Parts:
    """Return what a file of version 1 holds: scikit-learn's transformer of columns."""
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    with zipfile.ZipFile(BytesIO(content)) as archive:
        _check_sizes(archive, len(content))
        _check_arrays(archive, len(content))
    foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - _ALLOWED_TYPES)
    if foreign:
        raise RefusedError(f"names the type {foreign[0]}, which no model holds; do not use it")
    transformer = skops.io.loads(content, trusted=sorted(_ALLOWED_TYPES))
    if not isinstance(transformer, ColumnTransformer):
        raise RefusedError("holds the encoder of another model; save the model again")
    parts, widths = [], []
    for name, step, columns in transformer.transformers_:
        if not isinstance(step, str):  # such as "drop", for what is left over
            steps = [step for _, step in step.steps] if isinstance(step, Pipeline) else [step]
            parts.append(Part(name, steps, list(columns)))
            outputs = transformer.output_indices_[name]
            edges = getattr(steps[-1], "edges_", None)  # of bins, of which one number is kept
            width = outputs.stop - outputs.start
            widths.append(width if edges is None else sum(len(e) > 2 for e in edges))
    return Parts(parts, widths, source=transformer)


def _check_arrays(archive: zipfile.ZipFile, n_bytes: int) -> None:
    """Refuse arrays that would take more memory than the file's bytes.

    An array's header can claim any shape, the schema can read one array many times, and nested
    object arrays of one shared list grow with a power of its length.
    """
    sizes = {
        name: _array_bytes(archive, name) for name in archive.namelist() if name != "schema.json"
    }
    nodes, read = [json.loads(archive.read("schema.json"))], dict[object, int]()
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            nodes.extend(node.values())
            if "file" in node:
                read[node.get("__id__", len(read))] = sizes[node["file"]]
            if node.get("type") == "json" and len(node["shape"]["content"]) != 1:
                raise RefusedError("holds nested arrays of objects; do not use it")
        elif isinstance(node, list):
            nodes.extend(node)
    if sum(read.values()) > n_bytes:
        raise RefusedError("holds arrays larger than itself; do not use it")


def _array_bytes(archive: zipfile.ZipFile, name: str) -> int:
    """Return how many bytes an array takes by its own header, at least one a cell."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        known = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, dtype = known[version](file)
    return math.prod(shape) * max(1, dtype.itemsize)


def pack_labels(labels: Labels | None) -> Record | None:
    """Return class labels as plain JSON types; None for None.

    Raises:
        ValueError: if they are neither text, numbers nor booleans.
    """
    if labels is None:
        return None
    # latin-1 maps each byte to one character and back
    text = np.char.decode(labels, "latin-1") if labels.dtype.kind == "S" else labels
    values = [label.item() if isinstance(label, np.generic) else label for label in text.tolist()]
    strange = [value for value in values if not isinstance(value, str | bool | int | float)]
    if strange or labels.dtype.kind not in "biufOSU":
        raise ValueError(
            "classes must be text, numbers or booleans to be saved, got "
            f"{(strange or values)[0]!r}; convert the target before tuning, as in y.astype(str)"
        )
    is_wide = labels.dtype.itemsize > MAX_LABEL_BYTES
    return {"dtype": "|O" if is_wide else labels.dtype.str, "values": values}


def unpack_labels(packed: Record | None, n_bytes: int) -> Labels | None:
    """Return what `pack_labels` was given.

    Labels of a fixed width that would take more than ``n_bytes``, the size of their file, become
    objects: a long one among many short ones would fill the memory.
    """
    if packed is None:
        return None
    dtype, values = np.dtype(packed["dtype"]), packed["values"]
    if dtype.kind not in "biufOSU" or dtype.itemsize > MAX_LABEL_BYTES:
        raise RefusedError(f"holds labels of type {packed['dtype']!r}; save the model again")
    if any(isinstance(value, list | dict) for value in values):
        raise RefusedError("holds nested labels; save the model again")
    if dtype.kind == "S":
        values = [value.encode("latin-1") for value in values]
    is_wide = dtype.kind in "SU" and dtype.itemsize * len(values) > n_bytes
    return np.array(values, dtype=object if is_wide else dtype)


def unpack_scaler(fields: Record | None) -> TargetScaler | None:
    """Return the scaler of these fields; None for None."""
    return None if fields is None else TargetScaler(**fields)
