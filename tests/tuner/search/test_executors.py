"""Workers through executors and by plain processes: one study, shared, whoever dies."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import optuna
import pytest

from tuner import load_study, tune, tune_mlp
from tuner.tables import trials_dataframe

SMALL = {"n_layers": 1, "hidden_units": [8, 16], "batch_size": 32}
FAST = {"space": SMALL, "epochs": 4, "show_progress_bar": False}


def slow_square(trial):
    time.sleep(0.05)
    return trial.params["x"] ** 2


def kill_itself_once(trial):
    """Die with the trial under way, the first time that trial 3 comes by."""
    time.sleep(0.05)
    mark = os.path.join(os.environ["FUSETUNE_TEST_FOLDER"], "killed")
    if trial.number == 3 and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return trial.params["x"] ** 2


def raise_in_worker(trial):
    raise LookupError("no such thing")


@contextlib.contextmanager
def pool(n_workers):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context) as executor:
        yield executor


@contextlib.contextmanager
def dask(n_workers):
    distributed = pytest.importorskip("dask.distributed", reason="needs the extra 'dask'")
    with (
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


@contextlib.contextmanager
def slurm_like(n_workers):
    submitit = pytest.importorskip("submitit", reason="needs the extra 'submitit'")
    executor = submitit.LocalExecutor(folder=os.path.join(os.getcwd(), "jobs"))
    executor.update_parameters(timeout_min=5)
    yield executor


def check(frame, n_trials):
    assert frame["number"].tolist() == list(range(n_trials))
    assert set(frame["state"]) <= {"COMPLETE", "PRUNED"}
    params = [name for name in frame if name.startswith("params_")]
    assert not frame.duplicated(params).any()


def take_gpu(numbers):
    os.environ["CUDA_VISIBLE_DEVICES"] = str(numbers.get())


def note_gpu(trial):
    """Note what this worker sees, once all workers have a trial."""
    folder = os.environ["FUSETUNE_TEST_FOLDER"]
    open(os.path.join(folder, str(os.getpid())), "w").close()
    while len(os.listdir(folder)) < N_GPUS:
        time.sleep(0.02)
    trial.set_user_attr("seen", [os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]])
    return trial.params["x"] ** 2


N_GPUS = 3  # as if there were so many


def test_each_worker_of_a_pool_sees_a_gpu_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "workers").mkdir()
    monkeypatch.setenv("FUSETUNE_TEST_FOLDER", str(tmp_path / "workers"))
    spawn = multiprocessing.get_context("spawn")
    numbers = spawn.Queue()
    for number in range(N_GPUS):
        numbers.put(number)

    with ProcessPoolExecutor(N_GPUS, spawn, take_gpu, (numbers,)) as executor:
        result = tune(
            note_gpu,
            space={"x": (0.0, 1.0)},
            n_trials=9,
            storage=tmp_path / "s.journal",
            executor=executor,
            n_jobs=N_GPUS,
            show_progress_bar=False,
        )

    finished = [trial for trial in result.study.trials if trial.state.is_finished()]
    seen = {tuple(trial.user_attrs["seen"]) for trial in finished}
    assert sorted(gpu for _, gpu in seen) == ["0", "1", "2"]
    assert len({process for process, _ in seen}) == N_GPUS


@pytest.mark.parametrize("make", [pool, dask, slurm_like])
def test_workers_of_any_executor_share_a_study(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with make(2) as executor:
        result = tune_mlp(
            "digits", n_trials=60, n_jobs=2, executor=executor, storage="s.journal", **FAST
        )

    frame = result.trials_dataframe()
    check(frame, 60)
    assert frame["worker"].nunique() == 2
    valid = result.objective.data.valid
    assert result.best_model.score(valid.X, valid.y) == pytest.approx(result.best_value)


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_workers_share_what_is_known_beforehand(sampler, tmp_path):
    call = FAST | {"sampler": sampler, "pruner": "none"}
    call |= {"n_trials": 20} if sampler == "random" else {"space": SMALL | {"dropout": [0, 0.2]}}
    alone = tune_mlp("iris", **call).trials_dataframe()
    with pool(2) as executor:
        result = tune_mlp("iris", n_jobs=2, executor=executor, storage=tmp_path / "s.db", **call)

    together = result.trials_dataframe()
    check(together, len(alone))
    assert together["value"].tolist() == pytest.approx(alone["value"].tolist(), abs=0.07)
    params = [name for name in alone if name.startswith("params_")]
    if sampler == "grid":
        assert together[params].equals(alone[params])


def test_a_trial_of_a_worker_that_is_killed_is_taken_over_by_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSETUNE_TEST_FOLDER", str(tmp_path))
    code = (
        "from tests.tuner.search.test_executors import *\n"
        "tune(kill_itself_once, space={'x': (0.0, 1.0)}, n_trials=40, storage='s.journal',\n"
        "     show_progress_bar=False)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    ends = sorted(worker.wait(120) for worker in workers)

    assert ends == [-signal.SIGKILL, 0]
    frame = trials_dataframe(load_study("s.journal"))
    check(frame, 40)


def test_four_processes_that_make_the_same_call_at_once_end_as_one_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "from tests.tuner.search.test_executors import *\n"
        "result = tune(slow_square, space={'x': (0.0, 1.0)}, n_trials=30, storage='s.db',\n"
        "              show_progress_bar=False)\n"
        "assert len(result.trials_dataframe()) == 30"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]

    assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]
    check(trials_dataframe(load_study("s.db")), 30)


def test_ctrl_c_stops_the_workers_and_gives_the_result_so_far(tmp_path):
    def interrupt():
        while sum(t.state.is_finished() for t in load_study(path, "tune").trials) < 3:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    path = tmp_path / "s.journal"
    tune(slow_square, space={"x": (0.0, 1.0)}, n_trials=1, storage=path, show_progress_bar=False)
    killer = threading.Thread(target=interrupt)
    with pool(2) as executor:
        killer.start()
        result = tune(
            slow_square,
            space={"x": (0.0, 1.0)},
            n_trials=100_000,
            storage=path,
            n_jobs=2,
            executor=executor,
            show_progress_bar=False,
        )
    killer.join()

    frame = result.trials_dataframe()
    assert 3 <= len(frame) < 100_000
    assert set(frame["state"]) == {"COMPLETE"}


def test_an_error_of_all_workers_is_the_callers(tmp_path):
    with pool(1) as executor, pytest.raises(LookupError, match="no such thing"):
        tune(
            raise_in_worker,
            space={"x": (0.0, 1.0)},
            storage=tmp_path / "s.journal",
            executor=executor,
            show_progress_bar=False,
        )


class Executor:
    def submit(self, function, *arguments):
        raise AssertionError("nothing is to be submitted")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"executor": Executor()}, ValueError, "storage must be a .journal or .db file or a URL"),
        (
            {"executor": Executor(), "storage": optuna.storages.InMemoryStorage()},
            ValueError,
            "storage must be a .journal or .db file or a URL",
        ),
        ({"executor": 3, "storage": "s.journal"}, TypeError, "executor must have a submit method"),
        (
            {"executor": Executor(), "storage": "s.journal", "callbacks": [print]},
            ValueError,
            "callbacks must be empty where executor is given",
        ),
        ({"n_jobs": 2}, ValueError, "n_jobs must be 1 for a function without an executor"),
    ],
)
def test_an_executor_that_cannot_work_is_an_error_before_anything_is_stored(
    options, error, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(error, match=message):
        tune(slow_square, space={"x": (0.0, 1.0)}, n_trials=2, **options)
    assert not list(tmp_path.iterdir())


def test_a_function_that_cannot_be_sent_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="define functions at the top of an importable file"):
        tune(
            lambda trial: 0.0,
            space={"x": (0.0, 1.0)},
            n_trials=2,
            executor=Executor(),
            storage=tmp_path / "s.journal",
        )
