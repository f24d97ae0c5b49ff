"""Table files as people have them: what they hold is read, or one sentence says why not."""

import bz2
import functools
import gzip
import http.server
import json
import lzma
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest

from objectives.data.files import read_file
from objectives.data.table import DataWarning, load_tabular

ROWS = [(i / 4, ["Oslo", "Malmö", "a|b"][i % 3], i % 2) for i in range(30)]
FRAME = pd.DataFrame(ROWS, columns=["age", "city", "y"])


def lines(separator=",", frame=FRAME):
    return frame.to_csv(index=False, sep=separator)


def records():
    return FRAME.to_json(orient="records")


ARFF = (
    "% made by hand\n@relation shop\n@attribute age numeric\n@ATTRIBUTE 'the city' {Oslo,'Malmö'}\n"
    "@attribute y {0,1}\n\n@data\n" + "\n".join(f"{a},'{c}',{y}" for a, c, y in ROWS)
)

TEXTS = {
    "pipes.csv": lines("|"),
    "semicolons.csv": lines(";"),
    "tabs.tsv": lines("\t"),
    "tabs.txt": lines("\t"),
    "commas.data": lines(),
    "comments.csv": "# from the shop\n# second, line, here, too\n" + lines() + "# the end\n",
    "percent-comments.csv": "% from the shop\n" + lines(),
    "blank-lines.csv": "\n\n" + lines(),
    "header-in-a-comment.csv": "# age,city,y\n" + lines().partition("\n")[2],
    "blanks-around-names.csv": lines(frame=FRAME.set_axis([" age", "city ", " y"], axis=1)),
    "blanks-after-commas.csv": "\n".join(f"{a}, {c}, {y}" for a, c, y in [FRAME.columns, *ROWS]),
    "records.json": records(),
    "columns.json": FRAME.to_json(orient="columns"),
    "records.jsonl": FRAME.to_json(orient="records", lines=True),
    "byte-order-mark.csv": "\ufeff" + lines(),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_file_gives_its_table(tmp_path, name):
    (tmp_path / name).write_text(TEXTS[name], encoding="utf-8")

    frame = read_file(tmp_path / name).frame

    assert frame.columns.tolist() == ["age", "city", "y"]
    assert frame["age"].tolist() == FRAME["age"].tolist()
    assert frame["city"].tolist() == FRAME["city"].tolist()
    assert frame["y"].tolist() == FRAME["y"].tolist()


def test_whitespace_and_a_missing_header_are_understood_in_data_files(tmp_path):
    path = tmp_path / "auto.data"
    path.write_text("\n".join(f"{a:6} {i:4d}   {y}" for i, (a, _, y) in enumerate(ROWS)))

    with pytest.warns(DataWarning, match="no header: its columns are called x0, x1"):
        data = load_tabular(path, target="x2")

    assert len(data.train) + len(data.valid) + data.n_test == 30
    assert data.input_columns == ("x0", "x1")


def test_arff_gives_names_and_cells(tmp_path):
    (tmp_path / "shop.arff").write_text(ARFF.replace("a|b", "?"), encoding="utf-8")

    frame = read_file(tmp_path / "shop.arff").frame

    assert frame.columns.tolist() == ["age", "the city", "y"]
    assert frame["age"].tolist() == FRAME["age"].tolist()
    assert frame["the city"].isna().sum() == 10
    assert frame["the city"][1] == "Malmö"


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACKED)
def test_a_compressed_file_is_read(tmp_path, suffix):
    path = tmp_path / f"shop.csv.{suffix}"
    path.write_bytes(PACKED[suffix](lines().encode()))

    assert read_file(path).frame["y"].tolist() == FRAME["y"].tolist()


def test_the_one_table_of_a_zip_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as archive:
        archive.writestr("inner/shop.csv", lines(";"))
        archive.writestr("README", "about the shop")

    assert read_file(tmp_path / "shop.zip").frame["city"].tolist() == FRAME["city"].tolist()


def test_a_zip_of_several_tables_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as archive:
        archive.writestr("a.csv", lines())
        archive.writestr("b.csv", lines())

    with pytest.raises(ValueError, match="must hold one table, not 2 among 2 files; unpack it"):
        read_file(tmp_path / "shop.zip")


@pytest.mark.parametrize("suffix", ["xlsx", "feather", "parquet"])
def test_a_binary_table_is_read(tmp_path, suffix):
    pytest.importorskip("openpyxl" if suffix == "xlsx" else "pyarrow", reason="needs an extra")
    path = tmp_path / f"shop.{suffix}"
    FRAME.to_excel(path, index=False) if suffix == "xlsx" else getattr(FRAME, f"to_{suffix}")(path)

    frame = read_file(path).frame

    assert frame["age"].tolist() == FRAME["age"].tolist()
    assert frame["city"].tolist() == FRAME["city"].tolist()


def test_of_several_sheets_the_first_is_read_and_named(tmp_path):
    pytest.importorskip("openpyxl", reason="needs the excel extra")
    with pd.ExcelWriter(tmp_path / "shop.xlsx") as book:
        FRAME.to_excel(book, sheet_name="people", index=False)
        FRAME.to_excel(book, sheet_name="more", index=False)

    with pytest.warns(DataWarning, match="the first of 2 sheets, 'people', is read"):
        load_tabular(tmp_path / "shop.xlsx", target="y")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le"])
def test_another_encoding_is_read_when_it_is_named(tmp_path, encoding):
    path = tmp_path / "shop.csv"
    path.write_text(lines().replace("Oslo", "Östersund"), encoding=encoding)

    data = load_tabular(path, target="y", encoding=encoding)

    assert set(data.train.X["city"]) == {"Östersund", "Malmö", "a|b"}


def test_utf_16_is_known_by_its_first_bytes(tmp_path):
    (tmp_path / "shop.csv").write_text(lines(), encoding="utf-16")

    assert read_file(tmp_path / "shop.csv").frame["city"][1] == "Malmö"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Malmö", "latin-1"), ("Malmö \u201cb\u201d", "cp1252"), ("Malmö", "utf-16-le")],
)
def test_an_unnamed_encoding_is_named_in_the_refusal(tmp_path, text, encoding):
    (tmp_path / "shop.csv").write_text(lines().replace("Malmö", text), encoding=encoding)

    with pytest.raises(ValueError, match=f"UTF-8 table.*give encoding='{encoding}'"):
        read_file(tmp_path / "shop.csv")


@pytest.mark.parametrize("encoding", ["ascii", "latin9000"])
def test_a_wrong_encoding_is_refused(tmp_path, encoding):
    (tmp_path / "shop.csv").write_text(lines(), encoding="utf-8")

    with pytest.raises(ValueError, match=f"encoding must be .*got encoding='{encoding}'"):
        read_file(tmp_path / "shop.csv", encoding=encoding)


@pytest.mark.parametrize("in_header", [True, False], ids=["header-too", "rows-alone"])
def test_trailing_separators_are_ignored_with_one_warning(tmp_path, in_header):
    header, _, body = lines().partition("\n")
    ended = [f"{line}," for line in body.splitlines()]
    (tmp_path / "t.csv").write_text("\n".join([header + "," * in_header, *ended]), encoding="utf-8")

    with pytest.warns(DataWarning) as caught:
        data = load_tabular(tmp_path / "t.csv", target="y")

    assert data.input_columns == ("age", "city")
    assert len(caught) == 1
    assert "ends in a separator" in str(caught[0].message)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "3", "must hold a list of records"),
        ("a.json", "{", "must be a readable"),
        ("a.arff", "@relation x\n@data\n{0 1}", "rows must be dense"),
        ("a.zip", "no zip", "must be a readable"),
        ("a.csv", "# only\n# comments\n", "it holds no rows"),
        ("a.feather", "no feather", "must be a readable"),
    ],
)
def test_a_file_that_holds_no_table_is_refused_in_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)

    with pytest.raises(ValueError, match=words) as caught:
        read_file(tmp_path / name)

    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def address(tmp_path):
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_address_is_read_like_the_file_behind_it(tmp_path, address):
    (tmp_path / "shop.csv.gz").write_bytes(gzip.compress(lines(";").encode()))

    data = load_tabular(f"{address}/shop.csv.gz?token=secret", target="y")

    assert data.name == "shop.csv.gz"
    assert np.array_equal(data.train.X, load_tabular(FRAME, target="y").train.X)


def test_an_address_without_a_file_is_refused_as_it_was_given_less_its_secrets(address):
    with pytest.raises(ValueError, match=r"got dataset='http://.*/no.csv'.*404") as caught:
        load_tabular(f"{address}/no.csv?token=secret", target="y")

    assert "secret" not in str(caught.value)
    assert json.dumps(str(caught.value)).count("http://") == 1


@pytest.mark.parametrize("mark", ["\u2028", "\x85"])
def test_a_character_that_only_python_takes_for_the_end_of_a_line_stays_in_its_cell(tmp_path, mark):
    text = f"one{mark}two"
    records = [{"note": text, "y": k} for k in range(4)]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    files = {
        "t.csv": "# comment\nnote,y\n" + "\n".join(f"{text},{k}" for k in range(4)),
        "t.arff": "@attribute note string\n@attribute y numeric\n@data\n"
        + "\n".join(f"{text},{k}" for k in range(4)),
        "t.jsonl": "\r\n".join(lines),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode())
        frame = read_file(tmp_path / name).frame

        assert frame.note.tolist() == [text] * 4, name
        assert frame.y.tolist() == [0, 1, 2, 3], name
