"""Studies on a real PostgreSQL, and through Optuna's gRPC proxy in front of it."""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

from tests.tuner.search.test_crash import CALLS, check, killed_and_unbroken, warm  # noqa: F401 - fixture
from tests.tuner.servers import PASSWORD, grpc_proxy, postgresql_server, redis_server
from tuner import load_study, tune
from tuner.storage.backends import StorageError, open_storage
from tuner.tables import trials_dataframe

CALL = {"space": {"x": (-1.0, 1.0)}, "show_progress_bar": False}


def square(trial):
    trial.report(trial.params["x"], 0)
    return trial.params["x"] ** 2


def slow_square(trial):
    time.sleep(0.1)
    return square(trial)


def table(study):
    return trials_dataframe(study).drop(columns="duration_s")


@pytest.fixture(scope="module")
def server():
    with postgresql_server() as running:
        yield running


def test_a_search_is_the_same_in_memory_in_postgresql_and_through_the_proxy(server):
    expected = table(tune(square, n_trials=14, **CALL).study)
    there = tune(square, n_trials=14, storage=server.database(), **CALL)
    with grpc_proxy(server.database()) as url:
        through = tune(square, n_trials=14, storage=url, **CALL)

        assert table(there.study).equals(expected)
        assert table(through.study).equals(expected)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_study_in_postgresql_that_was_killed_ends_as_one_that_was_not(name, server, warm):  # noqa: F811
    storages = {"whole": server.database(), "killed": server.database()}

    killed, whole, _ = killed_and_unbroken(warm, name, storages, 2, seed=5)

    check(killed, whole)


@pytest.mark.slow
def test_studies_in_postgresql_lose_and_double_nothing_in_thirty_kills_and_more(server, warm):  # noqa: F811
    at_kill = []
    for name in CALLS:
        storages = {"whole": server.database(), "killed": server.database()}
        killed, whole, hits = killed_and_unbroken(warm, name, storages, 12, seed=6)
        check(killed, whole)
        at_kill += [n / len(whole) for n in hits]
    midway = [share for share in at_kill if 0 < share < 1]
    print(f"postgresql: {len(at_kill)} kills, {len(midway)} with some trials finished, not all")

    assert len(at_kill) >= 30
    assert len(midway) >= 10


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_study_outlasts_a_server_that_goes_away_in_mid_study(seconds, server):
    expected = table(tune(square, n_trials=20, **CALL).study)
    url = server.database()

    def away():
        study = load_study(url, "tune")
        while len(study.trials) < 5:
            time.sleep(0.05)
        server.stop()
        time.sleep(seconds)
        server.start()

    tune(slow_square, n_trials=1, storage=url, **CALL)
    outage = threading.Thread(target=away)
    outage.start()
    try:
        result = tune(slow_square, n_trials=20, storage=url, **CALL)
    except StorageError:  # the server went amid an answer: the study is whole all the same
        result = tune(slow_square, n_trials=20, storage=url, **CALL)
    outage.join()

    assert table(result.study).equals(expected)


def test_two_processes_may_begin_at_once_on_an_empty_database(server):
    url = server.database()
    code = (
        "import os\n"
        "from tests.tuner.storage.test_servers import CALL, slow_square\n"
        "from tuner import tune\n"
        "tune(slow_square, n_trials=20, storage=os.environ['STORAGE'], **CALL)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "STORAGE": url}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]

    assert [process.wait(120) for process in processes] == [0, 0]
    frame = table(load_study(url))
    assert frame["number"].tolist() == list(range(20))
    assert set(frame["state"]) == {"COMPLETE"}


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_wrong_password_is_one_sentence_that_does_not_show_it(
    scheme, server, caplog, capfd, monkeypatch
):
    monkeypatch.setattr("tuner.storage.backends._PATIENCE_S", 1)
    url = server.database().replace("postgresql", scheme).replace(PASSWORD, "falsch-8")

    with pytest.raises(StorageError, match="could not be read or written") as error:
        open_storage(url)

    shown = str(error.value) + caplog.text + "".join(capfd.readouterr())
    assert "falsch-8" not in shown
    assert "***" in str(error.value)


def test_the_password_is_nowhere_in_what_a_study_keeps_or_shows(server, caplog, capfd, tmp_path):
    url = server.database()
    result = tune(square, n_trials=3, storage=url, **CALL)
    result.export(tmp_path / "trials.csv")

    kept = repr(result) + str(result.study.user_attrs) + (tmp_path / "trials.csv").read_text()
    kept += "".join(
        str(trial.user_attrs) + str(trial.system_attrs) for trial in result.study.trials
    )
    assert PASSWORD not in kept + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("url", ["grpc://", "grpc://localhost", "grpc://:13000"])
def test_a_proxy_without_host_or_port_is_refused(url):
    with pytest.raises(ValueError, match="storage must be a URL such as grpc://host:13000"):
        open_storage(url)


def test_a_proxy_that_does_not_answer_is_one_sentence(monkeypatch):
    pytest.importorskip("grpc", reason="needs the extra 'grpc'")
    monkeypatch.setattr("tuner.storage.backends._PATIENCE_S", 1)

    with pytest.raises(StorageError, match="must be a running gRPC proxy, got no answer in 1 s"):
        open_storage("grpc://127.0.0.1:1")


def test_a_proxy_that_goes_in_mid_study_is_one_sentence_and_the_same_call_goes_on(server):
    url, call = server.database(), CALL | {"n_trials": 12}
    expected = table(tune(square, **call).study)

    with grpc_proxy(url) as address, contextlib.ExitStack() as proxy:
        dying = proxy.enter_context(grpc_proxy(url))

        def end_it(study, trial):
            if trial.number == 4:
                proxy.close()

        with pytest.raises(StorageError, match="could not be read or written") as error:
            tune(square, storage=dying, callbacks=[end_it], **call)
        assert "\n" not in str(error.value)

        assert table(tune(square, storage=address, **call).study).equals(expected)


class Bomb:
    """Unpickled, leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_study_in_redis_is_that_in_memory_and_runs_no_code_that_lies_there(tmp_path):
    import redis

    expected = table(tune(square, n_trials=120, **CALL).study)
    with redis_server() as url:
        tune(square, n_trials=3, storage=url, **CALL)
        with redis.Redis.from_url(url) as client:
            client.set(":snapshot", pickle.dumps(Bomb(str(tmp_path / "ran"))))
            result = tune(square, n_trials=120, storage=url, **CALL)
            assert client.get(":snapshot").startswith(b"\x80")

        assert table(load_study(url)).equals(expected)
        assert table(result.study).equals(expected)
    assert not (tmp_path / "ran").exists()


def test_a_redis_that_is_away_is_one_sentence_without_its_password():
    with redis_server() as url:
        pass  # and is gone

    with pytest.raises(StorageError, match="could not be read or written") as error:
        tune(square, n_trials=3, storage=url, **CALL)
    assert PASSWORD not in str(error.value)
