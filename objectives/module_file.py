"""Files of fitted modules: one safetensors file of weights, description and encoder, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import skops.io
import torch
from torch import Tensor

from objectives.files_written import replace_file
from objectives.model_file import DECODING_ERRORS, encoder_fields, read_encoder
from objectives.module_inputs import TableInputs

_KEY, _FORMAT, _VERSION = "fusetune", "fusetune module", 1
_ENCODER = "fusetune encoder"  # no name of a weight has a space


def write_module(
    path: str | os.PathLike[str],
    *,
    record: Mapping[str, Any],
    state: Mapping[str, Tensor],
    table: TableInputs | None,
) -> None:
    """Write weights and description at once, see `objectives.files_written.replace_file`.

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
            "columns": table.columns, "input_columns": table.input_columns,
            "encoder": encoder_fields(table.encoder),
        }  # fmt: skip
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
        columns=tuple(fields["columns"]), input_columns=tuple(fields["input_columns"]),
        encoder=encoder,
    )  # fmt: skip
