"""A result can be sent to another process, and goes on there."""

import multiprocessing
import pickle

import pytest

from tests.tuner.search.test_executors import dask
from tuner import load_result, tune_mlp

CALL = {
    "n_trials": 2,
    "epochs": 2,
    "show_progress_bar": False,
    "space": {"hidden_units": 8, "n_layers": 1, "batch_size": 32},
}


def search(storage):
    return tune_mlp("iris", storage=storage, callbacks=[lambda study, trial: None], **CALL)


@pytest.mark.parametrize("storage", [None, "s.journal", "s.db"])
def test_a_result_that_was_sent_is_whole_and_can_go_on(storage, in_folder):
    result = search(storage)

    sent = pickle.loads(pickle.dumps(result))

    assert sent.trials_dataframe().equals(result.trials_dataframe())
    valid = result.objective.data.valid
    assert sent.model.score(valid.X, valid.y) == result.model.score(valid.X, valid.y)
    assert len(sent.try_params(dropout=0.3).study.trials) == 3


def test_a_result_that_was_loaded_can_be_sent(in_folder):
    search("s.journal")

    sent = pickle.loads(pickle.dumps(load_result("s.journal")))

    assert sent.objective.metric.name == "accuracy"


@pytest.mark.slow
def test_a_result_comes_back_from_a_pool_and_from_a_dask_worker(in_folder):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        from_pool = pool.apply(search, ("s.journal",))
    with dask(1) as executor:
        from_dask = executor.submit(search, str(in_folder / "d.journal")).result()

    assert from_pool.best_params == from_dask.best_params
    assert len(from_dask.trials_dataframe()) == 2
