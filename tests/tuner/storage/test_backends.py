"""Storages that are locked, full, read-only, torn or away: survived, or one clear error."""

import contextlib
import json
import os
import resource
import sqlite3
import threading
import traceback

import optuna
import pandas as pd
import pytest

import tuner.storage.backends
from tuner import load_study, tune
from tuner.storage.backends import StorageError, cut_torn_line, open_storage, redacted
from tuner.tables import trials_dataframe

CALL = {"space": {"x": (-1.0, 1.0)}, "n_trials": 12, "show_progress_bar": False}


def square(trial):
    trial.report(trial.params["x"], 0)
    return trial.params["x"] ** 2


def table(path):
    return trials_dataframe(load_study(path)).drop(columns="duration_s")


@pytest.fixture(params=["journal", "db"])
def path(request, tmp_path):
    return tmp_path / f"s.{request.param}"


@pytest.fixture
def whole(path):
    unbroken = path.with_name(f"whole{path.suffix}")
    tune(square, storage=unbroken, **CALL)
    return table(unbroken)


def in_child(function):
    """Call ``function`` in a forked process and return the error it ends with, as text."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            function()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(theirs, text.encode())
        os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    with os.fdopen(ours) as pipe:
        return pipe.read()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_full_disk_ends_the_search_with_one_sentence_and_the_same_call_goes_on(
    share, path, whole
):
    unbroken = path.with_name(f"whole{path.suffix}").stat().st_size
    tune(square, storage=path, **CALL | {"n_trials": 2})
    used = path.stat().st_size
    # A database grows by pages, so that here the limit is what it has; a journal by lines.
    limit = used if path.suffix == ".db" else used + int(share * (unbroken - used))

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        tune(square, storage=path, **CALL | {"n_trials": 500})

    error = in_child(fill)
    assert error.startswith("StorageError: storage "), error
    assert "see to free space, then make the same call again" in error
    n_kept = len(table(path))
    tune(square, storage=path, **CALL | {"n_trials": max(12, n_kept)})

    assert table(path)["number"].tolist() == list(range(max(12, n_kept)))
    pd.testing.assert_frame_equal(table(path).head(12), whole, check_dtype=False)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_a_lock_that_a_killed_process_left_is_taken_over(relative, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs" / "s.journal"
    name = "runs/s.journal" if relative else str(path)
    tune(square, storage=name, **CALL | {"n_trials": 2})

    def die_with_the_lock():
        tuner.storage.backends._MendingLock(path).acquire()

    assert in_child(die_with_the_lock) == ""
    assert path.with_name("s.journal.lock").is_symlink()
    tune(square, storage=name, **CALL)

    assert len(table(path)) == 12
    assert not path.with_name("s.journal.lock").is_symlink()


def test_a_line_torn_by_another_process_is_cut_off_by_those_that_go_on(tmp_path):
    path = tmp_path / "s.journal"
    study = optuna.create_study(storage=open_storage(path), study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')

    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)

    assert len(load_study(path).trials) == 4
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize("n_whole", [0, 1, 20_000])
def test_a_torn_line_is_cut_off_whatever_its_length(n_whole, tmp_path):
    path = tmp_path / "s.journal"
    path.write_bytes(b"{}\n" * n_whole + b"x" * 150_000)

    assert cut_torn_line(path) == 150_000
    assert path.read_bytes() == b"{}\n" * n_whole


def test_reading_a_journal_changes_nothing_in_it(tmp_path):
    # Another process may be writing the line that looks torn.
    path = tmp_path / "s.journal"
    tune(square, storage=path, **CALL)
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    before = path.read_bytes()

    assert len(load_study(path).trials) == 12
    assert path.read_bytes() == before


def locked(path, seconds):
    """Lock a database from another thread's connection for so many seconds."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")

    def release():
        connection.execute("ROLLBACK")
        connection.close()

    timer = threading.Timer(seconds, release)
    timer.start()
    return timer


@pytest.mark.slow
def test_a_database_that_is_locked_for_20_s_is_waited_for(tmp_path):
    path, timers = tmp_path / "s.db", []

    def lock(study, trial):
        if trial.number == 5:
            timers.append(locked(path, 20))

    tune(square, storage=path, callbacks=[lock], **CALL)

    timers[0].join()
    assert table(path)["state"].tolist() == ["COMPLETE"] * 12


def test_a_database_that_stays_locked_ends_the_search_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(tuner.storage.backends, "_PATIENCE_S", 0.2)
    path, timers = tmp_path / "s.db", []

    def lock(study, trial):
        if trial.number == 5:
            timers.append(locked(path, 2))

    with pytest.raises(StorageError, match=r"s\.db' could not be .* \(database is locked\)"):
        tune(square, storage=path, callbacks=[lock], **CALL)
    timers[0].join()
    tune(square, storage=path, **CALL)

    assert table(path)["state"].tolist() == ["COMPLETE"] * 12


def test_a_connection_that_fails_for_a_while_is_made_again(tmp_path):
    path, away = tmp_path / "s.db", tmp_path / "away"
    tune(square, storage=path, **CALL | {"n_trials": 2})
    # Of a database that must exist, as one on a server does.
    storage = open_storage(f"sqlite:///file:{path}?mode=rw&uri=true")
    storage._backend.engine.dispose()
    away.mkdir()
    path.rename(away / "s.db")
    timer = threading.Timer(1.0, lambda: (away / "s.db").rename(path))
    timer.start()

    tune(square, storage=storage, **CALL)

    timer.join()
    assert len(table(path)) == 12


SECRET = "hunter2%21"
URLS = [
    f"postgresql://me:{SECRET}@127.0.0.1:1/db",
    f"postgresql://127.0.0.1:1/db?user=me&password={SECRET}",
    f"postgresql://me:{SECRET}@127.0.0.1:port/db",
    f"nosuch://me:{SECRET}@127.0.0.1/db",
    f"redis://:{SECRET}@127.0.0.1:1/0",
    f"postgresql://me:a@{SECRET}/b@127.0.0.1:1/db",
]


@pytest.mark.parametrize("url", URLS)
def test_no_error_shows_the_password_of_a_storage(url, caplog, capfd):
    with pytest.raises((StorageError, ImportError, ValueError)) as caught:
        tune(square, storage=url, **CALL)

    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    shown += caplog.text + "".join(capfd.readouterr())
    assert SECRET not in shown
    assert "hunter2" not in shown
    assert "hunter2" not in redacted(url)


def test_a_password_is_nowhere_in_the_study_nor_its_result(tmp_path, caplog, capfd):
    # SQLite takes and ignores parameters that it does not know.
    url = f"sqlite:///file:{tmp_path / 's.db'}?uri=true&password={SECRET}"
    result = tune(square, storage=url, **CALL)
    attributes = [result.study.user_attrs, *(t.user_attrs for t in result.study.trials)]

    shown = repr(result) + repr(result.study) + repr(attributes) + caplog.text
    assert "hunter2" not in shown + "".join(capfd.readouterr())
    assert b"hunter2" not in (tmp_path / "s.db").read_bytes()


@pytest.mark.parametrize("name", ["../../out", "/out", "..", "a\\..\\b", "x\0y"])
def test_the_name_of_a_study_names_no_file(name, path):
    before = set(path.parent.iterdir())

    with contextlib.suppress(ValueError):  # of a database that takes no zero byte
        tune(square, storage=path, study_name=name, **CALL)

    assert {p.name for p in set(path.parent.iterdir()) - before} <= {path.name}
    assert not (path.parent.parent / "out").exists()


def test_a_path_with_signs_that_mean_something_in_a_url_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"storage must be a \.db file without \?"):
        open_storage(tmp_path / "a?b.db")
