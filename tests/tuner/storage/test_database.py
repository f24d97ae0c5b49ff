"""Optuna's storage in a database and behind a proxy: what is seen, when, and to which digit."""

import math
import os
import pickle
import subprocess
import sys
import time

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import GrpcStorageProxy, get_storage
from optuna.trial import TrialState, create_trial

from tests.tuner.servers import PROXY, free_port, grpc_proxy, postgresql_server
from tuner import tune
from tuner.storage import database, rows
from tuner.storage.backends import open_storage
from tuner.storage.database import changes_id, from_text, to_text
from tuner.storage.optuna_internals import ChangesProxy, RunningTrial, level_of

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = {
    "x": FloatDistribution(1e-5, 1.0, log=True),
    "n": IntDistribution(1, 9, step=2),
    "kind": CategoricalDistribution(["a", None, 0.1 + 0.2]),
}
PARAMS = {"x": 0.1 + 0.2, "n": 3, "kind": 0.1 + 0.2}
PLAIN_PROXY = PROXY.replace("open_storage(os", "optuna.storages.get_storage(os")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.db"


@pytest.fixture(params=["database", "proxy"])
def storage(request, path):
    """The database, and as a second storage of ours reaches it."""
    if request.param == "database":
        yield open_storage(path)
        return
    with grpc_proxy(str(path)) as url:
        yield open_storage(url)


@pytest.fixture
def study(storage):
    study = optuna.create_study(storage=storage, study_name="s")
    study.add_trial(create_trial(params=PARAMS, distributions=SPACE, value=0.1 + 0.2))
    return study


def elsewhere(path):
    """The same study as another process has it, by Optuna alone."""
    return optuna.load_study(study_name="s", storage=get_storage(f"sqlite:///{path}"))


def running(study):
    template = create_trial(state=TrialState.RUNNING, params=PARAMS, distributions=SPACE)
    return RunningTrial(study, study._storage.create_new_trial(study._study_id, template))


def test_a_report_of_another_process_comes_into_sight_soon(study, path):
    other = elsewhere(path).ask()
    assert study.get_trials()[1].intermediate_values == {}

    other.report(0.5, 0)
    other.storage.set_trial_system_attr(other._trial_id, "rung", 1)
    deadline = time.monotonic() + 20

    while study.get_trials()[1].intermediate_values != {0: 0.5}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert study.get_trials()[1].system_attrs == {"rung": 1}


def test_a_state_that_another_process_has_changed_is_seen_at_once(study, path):
    other = elsewhere(path)
    trial = other.ask()
    assert study.get_trials()[1].state is TrialState.RUNNING

    trial.report(0.5, 0)
    other.tell(trial, 2.5)

    ended = study.get_trials()[1]
    assert (ended.state, ended.value, ended.intermediate_values) == (
        TrialState.COMPLETE,
        2.5,
        {0: 0.5},
    )


def test_a_trial_that_was_put_back_and_taken_by_another_process_is_seen_in_each_state(study, path):
    trial, other = running(study), elsewhere(path)
    seen = []
    for state in (TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL):
        other._storage.set_trial_state_values(trial._trial_id, state=state)
        seen.append(study.get_trials()[1].state)

    assert seen == [TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL]


def test_what_goes_through_a_storage_is_seen_in_it_at_once(study):
    trial = study.ask()
    study.get_trials()
    seen = []
    for step in range(3):
        trial.report(step / 3, step)
        trial.set_user_attr("at", step)
        trial.suggest_float(f"y{step}", 0, 1)
        (found,) = study.get_trials(states=(TrialState.RUNNING,))
        seen.append((len(found.intermediate_values), found.user_attrs["at"], len(found.params)))

    assert seen == [(1, 0, 1), (2, 1, 2), (3, 2, 3)]


def test_optuna_alone_finds_every_trial_as_it_is_here_to_the_last_digit(study, path):
    trial = running(study)
    for step, value in enumerate((0.1 + 0.2, math.inf, -math.inf, 1e-300)):
        trial.report(value, step)
    trial.end(TrialState.COMPLETE, 1 / 3, {"record": {"values": [1 / 3]}})
    running(study)
    study.enqueue_trial({"x": 0.5})

    ours, theirs = study.get_trials(), elsewhere(path).get_trials()

    assert [t.number for t in ours] == [0, 1, 2, 3]
    assert ours == theirs
    assert study.best_trial == theirs[0]


def test_a_copy_of_a_storage_in_another_process_sees_what_comes(study, storage):
    trial = running(study)
    study.get_trials()
    copied = pickle.loads(pickle.dumps(storage))
    trial.report(0.5, 0)
    trial.end(TrialState.COMPLETE, 1.0, {})
    running(study)

    assert copied.get_all_trials(study._study_id) == study.get_trials()


def test_a_study_that_has_the_number_of_a_deleted_one_has_none_of_its_trials(study, storage):
    running(study)
    study.get_trials()
    optuna.delete_study(study_name="s", storage=storage)
    again = optuna.create_study(storage=storage, study_name="again")

    assert again.get_trials() == []
    assert again.ask().number == 0
    assert [trial.number for trial in again.get_trials()] == [0]


def test_a_process_that_trains_holds_two_connections_of_a_server_as_it_allows_only_some():
    count = sqlalchemy.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    )
    with postgresql_server() as server:
        url, counts = server.database(), []
        engine = sqlalchemy.create_engine(url.replace("://", "+psycopg://"))

        def objective(trial):
            with engine.connect() as connection:
                counts.append(connection.execute(count).scalar_one() - 1)
            return 0.5

        call = {"space": {"x": (0.0, 1.0)}, "show_progress_bar": False}
        tune(objective, n_trials=3, storage=url, **call)
        engine.dispose()

    assert max(counts) <= 2


def test_a_trial_as_text_is_the_same_trial():
    trial = create_trial(
        state=TrialState.PRUNED,
        params=PARAMS,
        distributions=SPACE,
        value=-math.inf,
        user_attrs={"a": [1, {"b": None}]},
        system_attrs={"rung": 1},
        intermediate_values={0: 0.1 + 0.2, 7: math.inf},
    )

    assert from_text(to_text(trial)) == trial


def test_a_client_is_sent_what_has_changed_and_nothing_else(storage, study):
    trial = running(study)
    first = storage.get_study_user_attrs(changes_id(study._study_id, 0))
    trial.report(0.5, 0)
    trial.end(TrialState.COMPLETE, 1.0, {})
    second = storage.get_study_user_attrs(changes_id(study._study_id, first["version"]))
    third = storage.get_study_user_attrs(changes_id(study._study_id, second["version"]))

    assert (first["is_whole"], second["is_whole"]) == (True, False)
    assert sorted(from_text(text).number for text in first["trials"]) == [0, 1]
    assert [from_text(text).state.name for text in second["trials"]] == ["COMPLETE"]
    assert third["trials"] == []


@pytest.mark.parametrize(("program", "level"), [(PROXY, 3), (PLAIN_PROXY, 0)])
def test_our_client_and_optunas_see_the_same_behind_our_proxy_and_optunas(path, program, level):
    port, url = free_port(), str(path) if level else f"sqlite:///{path}"
    environment = os.environ | {"STORAGE": url, "PORT": str(port)}
    code = f"import optuna\n{program}"
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        ours = open_storage(f"grpc://127.0.0.1:{port}")
        study = optuna.create_study(storage=ours, study_name="s")
        plain = GrpcStorageProxy(host="127.0.0.1", port=port)
        theirs = optuna.load_study(study_name="s", storage=plain)
        for each in (study, theirs, study):
            each.ask(SPACE)
            each.tell(each.ask(SPACE), 1.0)
            assert study.get_trials() == theirs.get_trials()
        assert level_of(ours) == level
        optuna.delete_study(study_name="s", storage=ours)
        with pytest.raises(KeyError):
            study.get_trials()
    finally:
        process.kill()
        process.wait()


def test_a_client_reads_all_anew_from_a_proxy_that_was_started_again(path):
    port = free_port()
    environment = os.environ | {"STORAGE": str(path), "PORT": str(port)}
    for n_before in (0, 2):
        process = subprocess.Popen([sys.executable, "-c", PROXY], env=environment)
        try:
            if n_before == 0:
                storage = open_storage(f"grpc://127.0.0.1:{port}")
                study = optuna.create_study(storage=storage, study_name="s")
            storage.wait_server_ready(timeout=60)
            assert len(study.get_trials()) == n_before
            study.tell(study.ask(), 1.0)
            study.ask()
            assert [t.state.name for t in study.get_trials()[-2:]] == ["COMPLETE", "RUNNING"]
        finally:
            process.kill()
            process.wait()
    assert isinstance(storage, ChangesProxy)


def test_with_another_optuna_that_lacks_names_its_own_way_is_taken(path, monkeypatch):
    def lacks(*args):
        raise AttributeError("of another Optuna")

    for module in (database, rows):
        monkeypatch.setattr(module, "statements", lacks)
    storage = open_storage(path)
    study = optuna.create_study(storage=storage, study_name="s")
    study.set_user_attr("a", 1)
    study.add_trial(create_trial(params=PARAMS, distributions=SPACE, value=0.5))
    trial = running(study)
    trial.report(0.1 + 0.2, 0)
    batch = {"reports": {"1": "0.5"}, "attributes": {"b": 2}}
    storage.set_trial_system_attr(trial._trial_id, database.BATCH, batch)
    trial.end(TrialState.COMPLETE, 1.5, {"c": 3})

    assert study.user_attrs == {"a": 1}
    ended = study.get_trials()[1]
    assert (ended.value, ended.user_attrs) == (1.5, {"b": 2, "c": 3})
    assert ended.intermediate_values == {0: 0.1 + 0.2, 1: 0.5}
    assert study.get_trials() == elsewhere(path).get_trials()
