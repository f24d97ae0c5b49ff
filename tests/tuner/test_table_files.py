import gzip
import json
import math
import re
import sys

import optuna
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.storage.view import view_of
from tuner.tables import export, file_name, trials_dataframe

FRAME = pd.DataFrame(
    {
        "number": [0, 1],
        "value": [0.1 + 0.2, math.nan],
        "best_epoch": pd.array([3, None], dtype="Int64"),
        "error": pd.Series([None, "=HYPERLINK('x')"], dtype="str"),
    }
)
READERS = {
    ".csv": pd.read_csv,
    ".csv.gz": pd.read_csv,
    ".parquet": pd.read_parquet,
    ".json": pd.read_json,
    ".xlsx": pd.read_excel,
}


@pytest.mark.parametrize("suffix", READERS)
def test_exported_table_reads_back_the_same(suffix, tmp_path):
    written = export(FRAME, tmp_path / f"trials{suffix}")
    back = READERS[suffix](written)

    assert list(back) == list(FRAME)
    assert back["value"].tolist() == pytest.approx([0.1 + 0.2, math.nan], nan_ok=True, abs=1e-15)
    assert [None if pd.isna(cell) else cell for cell in back["best_epoch"]] == [3, None]


@pytest.mark.parametrize("suffix", READERS)
def test_empty_table_is_exported_with_its_columns(suffix, tmp_path):
    study = optuna.create_study()
    study.set_user_attr("fusetune", {"metric": "accuracy", "params": ["learning_rate"]})

    back = READERS[suffix](export(trials_dataframe(study), tmp_path / f"trials{suffix}"))

    assert len(back) == 0
    assert suffix == ".json" or "params_learning_rate" in back


@pytest.mark.parametrize(
    ("suffix", "cell"),
    [
        (".csv", "'=HYPERLINK('x')"),
        (".csv.gz", "'=HYPERLINK('x')"),
        (".xlsx", "'=HYPERLINK('x')"),
        (".json", "=HYPERLINK('x')"),
        (".parquet", "=HYPERLINK('x')"),
    ],
)
def test_cells_a_spreadsheet_would_run_are_defused_where_one_opens_the_file(suffix, cell, tmp_path):
    back = READERS[suffix](export(FRAME, tmp_path / f"trials{suffix}"))

    assert back["error"][1] == cell


STARTS = ["=", "+", "-", "@", "\t=", "\r=", "\n=", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\u2212"]
STARTS += [
    "\xa0=",
    "\u200b=",
    "\ufeff=",
    "\u2028=",
    "\u2029@",
    "\x85=",
    "\x0b=",
    " \u2060\xad+",
    "\x1f=",
]


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
@pytest.mark.parametrize("start", STARTS)
def test_no_text_cell_or_column_begins_as_a_formula(start, suffix, tmp_path):
    text = f"{start}cmd|' /C calc'!A0"
    frame = pd.DataFrame({text: [text], "kind": pd.Categorical([text]), "value": [-1.5]})

    back = READERS[suffix](export(frame, tmp_path / f"trials{suffix}"))

    cells = [next(iter(back)), *back.iloc[0].tolist()]
    assert all(cell.startswith("'") and cell.endswith("cmd|' /C calc'!A0") for cell in cells[:3])
    assert cells[3] == -1.5


@pytest.mark.parametrize(
    "separator", [";", "\t", "\r", "\n", "\r\n", "; ", ";\xa0", "\u2028", "\x85"]
)
def test_no_part_of_a_text_begins_as_a_formula_where_another_separator_splits_it(
    separator, tmp_path
):
    frame = pd.DataFrame({"error": [f"a{separator}=cmd"], f"b{separator}@x": ["fine; 1 - 2"]})

    written = export(frame, tmp_path / "trials.csv").read_text(encoding="utf-8")

    cells = [cell.strip(' "\xa0') for cell in re.split("[,;\t\n\u2028\x85]", written)]
    assert "fine" in cells
    assert [c[0] + c[1:].strip(" \xa0") for c in cells if "cmd" in c or "@" in c] == [
        "'@x",
        "'=cmd",
    ]


def test_excel_files_keep_the_inside_of_a_text_as_it_is(tmp_path):
    path = export(pd.DataFrame({"error": ["a;=b"]}), tmp_path / "trials.xlsx")

    assert pd.read_excel(path)["error"].tolist() == ["a;=b"]


@pytest.mark.parametrize(
    "name", ["../../x", "/abs/x", "..", "a\0b", "a\nb", "a\\..\\b", "C:x", "ä" * 300, "", "n" * 300]
)
def test_the_file_of_a_study_lies_in_its_folder_whatever_the_study_is_called(name, tmp_path):
    path = tmp_path / f"{file_name(name)}-trials.csv"

    assert export(pd.DataFrame({"number": [0]}), path).parent == tmp_path
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert set(path.name).isdisjoint("\\/:\n\0")


@given(texts=st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=8), max_size=5))
def test_json_keeps_every_text(texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "trials.json"

    export(pd.DataFrame({"error": pd.Series(texts, dtype="str")}), path)

    assert [row["error"] for row in json.loads(path.read_text(encoding="utf-8"))] == texts


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_csv_and_json_keep_every_digit(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    frame = pd.DataFrame({"value": values})

    lines = export(frame, folder / "t.csv").read_text().splitlines()
    rows = json.loads(export(frame, folder / "t.json").read_text())

    assert [float(line) for line in lines[1:]] == values
    assert [row["value"] for row in rows] == values


def test_json_has_null_for_what_is_not_finite(tmp_path):
    path = export(pd.DataFrame({"value": [math.inf, math.nan, 1.0]}), tmp_path / "t.json")

    assert [row["value"] for row in json.loads(path.read_text())] == [None, None, 1.0]


def test_json_has_null_for_what_is_not_finite_inside_a_user_attribute(tmp_path):
    study = optuna.create_study()
    attributes = {"scores": {"a": [1.0, math.nan], "b": (math.inf,)}, "nothing": []}
    study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs=attributes))

    [row] = json.loads(export(study.trials_dataframe(), tmp_path / "t.json").read_text())

    assert row["user_attrs_scores"] == {"a": [1.0, None], "b": [None]}
    assert row["user_attrs_nothing"] == []
    assert row["datetime_start"]


def test_control_characters_of_an_error_do_not_break_an_excel_file(tmp_path):
    frame = pd.DataFrame({"error": ["\x1b[31mred\x00"]})

    assert pd.read_excel(export(frame, tmp_path / "t.xlsx"))["error"][0] == "[31mred"


def test_same_table_gives_the_same_compressed_bytes(tmp_path):
    first = export(FRAME, tmp_path / "a.csv.gz").read_bytes()

    assert gzip.decompress(first).startswith(b"number,value,best_epoch,error\n")
    assert first == export(FRAME, tmp_path / "a.csv.gz").read_bytes()


def test_export_leaves_the_table_as_it_was(tmp_path):
    frame = FRAME.copy()

    export(frame, tmp_path / "t.csv")

    pd.testing.assert_frame_equal(frame, FRAME)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("t.txt", ValueError, r"path must end in one of \.csv, .* got path=.*t\.txt"),
        ("t", ValueError, "path must end in one of"),
        ("none/t.csv", FileNotFoundError, "path must be in a folder that exists"),
        ("folder.csv", ValueError, "path must be a file, got the folder"),
    ],
    ids=["suffix", "no-suffix", "no-folder", "a-folder"],
)
def test_path_that_cannot_be_written_is_refused_by_name(name, error, message, tmp_path):
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(error, match=message):
        export(FRAME, tmp_path / name)


@pytest.mark.parametrize(
    ("suffix", "library", "extra"),
    [(".parquet", "pyarrow", "parquet"), (".xlsx", "openpyxl", "excel")],
)
def test_missing_library_is_named_with_the_extra_that_brings_it(
    suffix, library, extra, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, library, None)  # Python's own way to say "not installed".

    with pytest.raises(ImportError, match=rf"{library} .* pip install 'fusetune\[{extra}\]'"):
        export(FRAME, tmp_path / f"t{suffix}")


# --- for papers and pages ---


def study_for_a_paper():
    study = optuna.create_study(study_name="s", direction="maximize")
    study.set_user_attr("fusetune", {"metric": "accuracy"})
    for number, value in enumerate([0.9, 0.9725]):
        params = {"learning_rate": 0.00123456, "units_a_layer": 8 << number, "kind": "a&b|c"}
        study.add_trial(
            optuna.trial.create_trial(value=value, user_attrs={"params": params, "best_epoch": 3})
        )
    return study


def test_latex_has_what_differs_the_best_row_bold_and_a_remark_on_the_rest(tmp_path):
    written = export(view_of(study_for_a_paper()), tmp_path / "t.tex")

    assert written.read_text() == (
        "% \\usepackage{booktabs}\n"
        "% The same in all trials: learning_rate=0.001235, kind=a&b|c.\n"
        "\\begin{tabular}{rlrrr}\n"
        "\\toprule\n"
        "number & state & value & best\\_epoch & units\\_a\\_layer \\\\\n"
        "\\midrule\n"
        "0 & COMPLETE & 0.9000 & 3 & 8 \\\\\n"
        "\\bfseries 1 & \\bfseries COMPLETE & \\bfseries 0.9725 & \\bfseries 3 & "
        "\\bfseries 16 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )


def test_markdown_has_the_same_and_nothing_breaks_its_columns(tmp_path):
    written = export(view_of(study_for_a_paper()), tmp_path / "t.md")

    assert written.read_text().splitlines() == [
        r"| number | state | value | best\_epoch | units\_a\_layer |",
        "| ---: | --- | ---: | ---: | ---: |",
        "| 0 | COMPLETE | 0.9000 | 3 | 8 |",
        "| **1** | **COMPLETE** | **0.9725** | **3** | **16** |",
        "",
        r"The same in all trials: learning\_rate=0.001235, kind=a&b\|c.",
    ]


@pytest.mark.parametrize("suffix", [".tex", ".md"])
def test_text_of_a_study_is_escaped_for_a_paper(suffix, tmp_path):
    frame = pd.DataFrame({"a|b": ["50% & $5\nmore", "<b>_x_</b>"], "value": [1234.5678, math.nan]})

    text = export(frame, tmp_path / f"t{suffix}").read_text()

    rows = {
        ".tex": [r"50\% \& \$5 more & 1235 \\", r"<b>\_x\_</b> &  \\"],
        ".md": [r"| 50% & $5 more | 1235 |", r"| \<b\>\_x\_\</b\> |  |"],
    }
    assert set(rows[suffix]) <= set(text.splitlines())


@pytest.mark.parametrize("suffix", [".tex", ".md"])
def test_a_table_without_trials_has_a_head_for_a_paper(suffix, tmp_path):
    text = export(trials_dataframe(optuna.create_study()), tmp_path / f"t{suffix}").read_text()

    assert "number" in text
    assert "value" in text


def test_a_hyperparameter_called_as_a_column_does_not_take_its_place(tmp_path):
    study = optuna.create_study()
    line = {"value": optuna.distributions.FloatDistribution(0.0, 1.0)}
    for x in (0.25, 0.75):
        study.add_trial(
            optuna.trial.create_trial(value=x + 2, params={"value": x}, distributions=line)
        )

    head, _, first, *_ = export(view_of(study), tmp_path / "t.md").read_text().splitlines()

    assert head == r"| number | state | value | params\_value |"
    assert first == "| **0** | **COMPLETE** | **2.250** | **0.25** |"


def test_a_column_of_numbers_and_texts_is_text_in_parquet(tmp_path):
    frame = pd.DataFrame({"name": ["dropout", "activation", "momentum"], "a": [0.5, "relu", None]})

    read = pd.read_parquet(export(frame, tmp_path / "t.parquet"))

    assert read["a"].tolist()[:2] == ["0.5", "relu"]
    assert pd.isna(read["a"][2])
    assert frame["a"].tolist() == [0.5, "relu", None]
