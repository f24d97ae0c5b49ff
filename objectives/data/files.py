"""Files: tables as people have them, told apart by their suffix, and any file written whole."""

import bz2
import codecs
import csv
import gzip
import json
import lzma
import os
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from objectives._messages import nearest
from objectives.data.frames import free_memory

BUILTINS = ("digits", "breast_cancer", "wine", "iris", "diabetes")

_HEAD_BYTES = 2**16  # what encoding, comments and separator are judged by
_URL_TIMEOUT = 60.0
_MEMORY_PER_BYTE = 3  # of a file: its bytes, its table, and the copy that is split
_DAMAGES = (
    *(OSError, ValueError, EOFError, csv.Error),
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
_COMMENTS = ("#", "%", "//")
_NUMBER = re.compile(r"\s*[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?\s*")
_GROUPED_BY_DOTS = re.compile(r"\s*[-+]?[1-9]\d{0,2}(?:\.\d{3})+\s*")


class FileTable(NamedTuple):
    """What a file holds, text as text.

    Attributes:
        frame: the table; empty cells alone are missing.
        separator: what separates cells, in a file of text; None in others.
        notes: what its reader should know, as sentences.
    """

    frame: pd.DataFrame
    separator: str | None = None
    notes: tuple[str, ...] = ()


class _Source(NamedTuple):
    """The bytes of a file, without their compression, and what its name and the user say of it."""

    content: bytes
    suffix: str
    encoding: str | None

    def text(self) -> str:
        return self.content.decode(self.encoding or _encoding(self.content))

    def lines(self) -> list[str]:
        return _lines(self.text())


def _lines(text: str) -> list[str]:
    # `str.splitlines` also divides at characters such as U+2028, which cells may hold.
    return re.split(r"\r\n|\r|\n", text)


def read_file(location: str | Path, *, encoding: str | None = None) -> FileTable:
    """Read a table from a file or an http(s) address, by its suffix.

    A file of text is UTF-8, or what its first bytes or ``encoding`` say.

    Raises:
        ValueError: if the file is not there, of another kind, or unreadable; names it.
    """
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError as error:
        raise ValueError(
            f"encoding must be one that Python knows, got encoding={encoding!r}; 'cp1252', "
            "'latin-1' and 'utf-16' are examples"
        ) from error
    shown = str(location)
    if is_address(location):  # without user, password and query
        parts = urllib.parse.urlsplit(shown)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    try:
        content = _download(str(location)) if is_address(location) else _bytes_of(Path(location))
        return _read(content, file_name(location), encoding)
    except ImportError as error:
        excel = "openpyxl" in str(error)
        package, extra = ("openpyxl", "excel") if excel else ("pyarrow", "parquet")
        raise ValueError(
            f"dataset must be readable here, got dataset='{shown}' without {package}; "
            f"pip install 'fusetune[{extra}]'"
        ) from error
    except _RefusedError as error:
        raise ValueError(f"dataset must {error.rule}, got dataset='{shown}'{error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"dataset must be a readable UTF-8 table, got dataset='{shown}': its text is of "
            f"another encoding; give encoding={_likely_encoding(error)!r}, or what it was saved in"
            if encoding is None
            else f"encoding must be that of the file, got encoding={encoding!r} for '{shown}'; "
            "leave it out, or try 'cp1252'"
        ) from error
    except _DAMAGES as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too soon"
        raise ValueError(
            f"dataset must be a readable UTF-8 table, got dataset='{shown}': {reason}; "
            "open it in an editor, or read it with pandas and give the DataFrame"
        ) from error


class _RefusedError(Exception):
    """A file that cannot be a table: the rule that it breaks, and the end of the sentence."""

    def __init__(self, rule: str, rest: str) -> None:
        super().__init__(rest)
        self.rule = rule


def is_address(location: object) -> bool:
    """Whether ``location`` is an http(s) address."""
    return isinstance(location, str) and location.lower().startswith(("http://", "https://"))


def file_name(location: str | Path) -> str:
    """Return the last part of a path or address."""
    path = urllib.parse.urlsplit(str(location)).path if is_address(location) else location
    return Path(path).name


def _download(address: str) -> bytes:
    request = urllib.request.Request(address, headers={"User-Agent": "fusetune"})
    try:
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            raise OSError(f"the server answers {error.code} {error.reason}") from error


def _bytes_of(path: Path) -> bytes:
    path = path.expanduser()
    if not path.exists() and _kind(path.name)[0] is None:
        names = ", ".join(BUILTINS)
        raise _RefusedError(f"be a file or one of {names}", f"; {nearest(str(path), BUILTINS)}")
    if not path.is_file():
        raise _RefusedError("be a file that exists", "; check the path")
    size, free = path.stat().st_size / 1e9, free_memory() / 1e9
    if _MEMORY_PER_BYTE * size > free:
        raise _RefusedError(
            "fit into memory",
            f" of {size:.1f} GB, which needs {_MEMORY_PER_BYTE * size:.1f} GB where {free:.1f} GB "
            "are free; read some of its rows with pandas and give the DataFrame",
        )
    return path.read_bytes()


def _kind(name: str) -> tuple[str | None, str]:
    """Return the suffix of the table and that of its compression."""
    lowered = name.lower()
    packed = next((end for end in (*_DECOMPRESS, ".zip") if lowered.endswith(end)), "")
    inner = lowered.removesuffix(packed)
    suffix = next((end for end in READERS if inner.endswith(end)), None)
    return (".zip" if suffix is None and packed == ".zip" else suffix), packed


def _read(content: bytes, name: str, encoding: str | None) -> FileTable:
    suffix, packed = _kind(name)
    if packed == ".zip":
        member, content = _unzipped(content)
        return _read(content, member, encoding)
    if suffix is None:
        raise _RefusedError(
            f"end in {', '.join(SUFFIXES)}", "; read it with pandas and give the DataFrame"
        )
    if packed:
        content = _DECOMPRESS[packed](content)
    return READERS[suffix](_Source(content, suffix, encoding))


def _unzipped(content: bytes) -> tuple[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        files = (entry.filename for entry in archive.infolist() if not entry.is_dir())
        names = [name for name in files if not name.startswith("__MACOSX")]
        tables = [name for name in names if _kind(name)[0] in READERS]
        if len(tables) != 1:
            raise ValueError(
                f"it must hold one table, not {len(tables)} among {len(names)} files; unpack it"
            )
        return Path(tables[0]).name, archive.read(tables[0])


def _encoding(content: bytes) -> str:
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    return next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8-sig")


def _likely_encoding(error: UnicodeDecodeError) -> str:
    content = error.object[:_HEAD_BYTES]
    if content.count(b"\0") > len(content) // 4:
        return "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    # latin-1 has control characters there, which no table holds.
    return "cp1252" if any(0x80 <= byte < 0xA0 for byte in content) else "latin-1"


class _Layout(NamedTuple):
    """How a file of separated cells is laid out, judged by its first lines."""

    separator: str
    names: tuple[str, ...]
    header_is_row: bool
    comment: str | None
    blank_after: bool
    trailing: bool


def _csv(source: _Source) -> FileTable:
    """Read a file of separated cells; only empty cells are missing.

    Lines before the header that begin with "#", "%" or "//" are comments, and so is every such
    line after them. The separator is the one that divides the first lines alike.
    """
    head = source.content[:_HEAD_BYTES]
    cut = len(head) == _HEAD_BYTES
    encoding = source.encoding or _encoding(head)
    text = head.decode(encoding, errors="ignore" if cut else "strict")
    lines = _lines(text)
    layout = _layout(lines[:-1] if cut else lines, source.suffix)
    with warnings.catch_warnings():
        # A row longer than the header would otherwise lose its last cells.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = _cells(source, layout, encoding)
        except pd.errors.ParserWarning as error:
            raise ValueError("its rows have more cells than its first line") from error
    notes = []
    if layout.trailing:
        if frame.iloc[:, -1].notna().any():
            raise ValueError("its rows have more cells than its first line")
        frame = frame.iloc[:, :-1]
        notes.append("each line of the file ends in a separator; it is ignored, nothing is lost")
    if not layout.header_is_row and layout.names[0] == "x0":
        notes.append("the file has no header: its columns are called x0, x1, ...; add a first line")
    unclear = [] if layout.separator != ";" else [str(c) for c in frame if _is_unclear(frame[c])]
    if unclear:  # 1.234 is a thousand or more where decimals have commas
        texts = _cells(source, layout, encoding, as_text=unclear)
        for name, cells in texts.items():
            fractions = [cell for cell in cells.dropna().unique() if "." in cell]
            if all(map(_GROUPED_BY_DOTS.fullmatch, fractions)):
                frame = frame.assign(**{str(name): cells})
    return FileTable(frame=frame, separator=layout.separator, notes=tuple(notes))


def _cells(
    source: _Source, layout: _Layout, encoding: str, *, as_text: list[str] | None = None
) -> pd.DataFrame:
    content: BytesIO | StringIO = BytesIO(source.content)
    if layout.comment is not None:
        rows = (row for row in source.lines() if not row.startswith(layout.comment))
        content = StringIO("\n".join(rows))
    return pd.read_csv(
        content,
        sep=layout.separator,
        names=list(layout.names),
        header=0 if layout.header_is_row else None,
        usecols=as_text,
        dtype=None if as_text is None else str,
        encoding=encoding,
        keep_default_na=False,
        na_values=[""],
        skipinitialspace=layout.blank_after,
        low_memory=False,
        index_col=False,
    )


def _is_unclear(column: pd.Series) -> bool:
    """Whether all fractions of a column have three digits at most."""
    if column.dtype.kind != "f" or not (column.dropna() % 1 != 0).any():
        return False
    thousands = column.dropna() * 1000
    return bool((abs(thousands - thousands.round()) < 1e-6 * abs(thousands)).all())


def _layout(lines: list[str], suffix: str) -> _Layout:
    lines = [line for line in lines if line.strip()]
    comment = next((mark for mark in _COMMENTS if lines and lines[0].startswith(mark)), None)
    rows = [line for line in lines if comment is None or not line.startswith(comment)][:50]
    if not rows:
        raise ValueError("it holds no rows")
    separator = _separator(rows, suffix)
    cells = _divided(rows, separator)
    header, body = cells[0], cells[1:]
    header_is_row = True
    if comment is not None:
        last = lines[lines.index(rows[0]) - 1].removeprefix(comment)
        if len(header) > 1 and len(_divided([last], separator)[0]) == len(header):
            header, body, header_is_row = _divided([last], separator)[0], cells, False
    if header_is_row and suffix in (".data", ".txt") and any(map(_NUMBER.fullmatch, header)):
        header, body, header_is_row = [f"x{k}" for k in range(len(header))], cells, False
    trailing = bool(body) and not any(row[-1].strip() for row in body)
    if trailing and {len(row) for row in body} == {len(header) + 1}:
        header = [*header, ""]
    trailing = trailing and not header[-1].strip()
    names = tuple(name.strip() or f"Unnamed: {k}" for k, name in enumerate(header))
    if len(set(names)) < len(names):
        # pandas would rename the second one without a word.
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"column {doubled!r} occurs more than once in its first line")
    return _Layout(
        separator=separator,
        names=names,
        header_is_row=header_is_row,
        comment=comment,
        blank_after=len(separator) == 1 and all(f"{separator} " in row for row in rows),
        trailing=trailing,
    )


def _separator(rows: list[str], suffix: str) -> str:
    if suffix in (".tsv", ".tab") and "\t" in rows[0]:
        return "\t"

    def fit(separator: str) -> tuple[bool, int]:
        sizes = [len(row) for row in _divided(rows, separator)]
        return max(sizes) - min(sizes) <= 1 < sizes[0], sizes[0]

    best = max(",;\t|", key=fit)
    if suffix in (".data", ".txt") and not fit(best)[0] and fit(r"\s+")[0]:
        return r"\s+"
    return best


def _divided(rows: list[str], separator: str) -> list[list[str]]:
    if len(separator) > 1:
        return [row.split() for row in rows]
    return list(csv.reader(rows, delimiter=separator, skipinitialspace=True))


def _excel(source: _Source) -> FileTable:
    with pd.ExcelFile(BytesIO(source.content)) as book:
        names = [str(name) for name in book.sheet_names]
        frame = pd.read_excel(book, keep_default_na=False, na_values=[""])
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    rest = f"the first of {len(names)} sheets, {names[0]!r}, is read; save another one as a file"
    return FileTable(frame=frame, notes=(rest,) if len(names) > 1 else ())


def _json(source: _Source) -> FileTable:
    """Read a list of records, one record a line, or a dict of columns."""
    text = source.text()
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        content = [json.loads(line) for line in _lines(text) if line.strip()]
    if not isinstance(content, list | dict) or not content:
        raise ValueError('it must hold a list of records, as in [{"age": 3, "y": 0}]')
    return FileTable(frame=pd.DataFrame(content))


def _arff(source: _Source) -> FileTable:
    """Read Weka's format; the types that it declares are those that its cells have."""
    head, body = (*re.split(r"(?im)^\s*@data\s*$", source.text(), maxsplit=1), "")[:2]
    declared = re.findall(r"(?im)^\s*@attribute\s+('[^']*'|\"[^\"]*\"|\S+)", head)
    rows = [row for row in _lines(body) if row.strip() and not row.startswith("%")]
    if not declared or any(row.lstrip().startswith("{") for row in rows[:1]):
        raise ValueError("its rows must be dense, after @attribute lines and @data")
    quote = '"' if '"' in "".join(rows[:100]) else "'"
    frame = pd.read_csv(
        StringIO("\n".join(rows)),
        names=[name.strip("'\"") for name in declared],
        quotechar=quote,
        skipinitialspace=True,
        keep_default_na=False,
        na_values=["?"],
        low_memory=False,
        index_col=False,
    )
    return FileTable(frame=frame)


READERS: dict[str, Callable[[_Source], FileTable]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt", ".data"), _csv),
    **dict.fromkeys((".parquet", ".pq"), lambda s: FileTable(pd.read_parquet(BytesIO(s.content)))),
    ".feather": lambda source: FileTable(pd.read_feather(BytesIO(source.content))),
    ".xlsx": _excel,
    ".json": _json,
    ".jsonl": _json,
    ".arff": _arff,
}
_DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", *list(READERS)[2:], ".zip")
"""The suffixes that messages and help name."""


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to write; raise ValueError if its folder is missing."""
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"path must be a file, got the folder path={str(path)!r}; add a file name")
    if not target.parent.is_dir():
        raise ValueError(
            f"path must lie in an existing folder, got path={str(path)!r}; "
            f"create {str(target.parent)!r} first"
        )
    return target


def replace_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file at once: a reader sees the old file or the new one, never half of one.

    Raises:
        ValueError: if the folder does not exist, or ``path`` is a folder.
    """
    target = check_target(path)
    # in the same folder, as os.replace cannot move between file systems
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
