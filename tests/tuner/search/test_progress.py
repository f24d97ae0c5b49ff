import time

import pytest

from tuner.search.progress import ProgressBar, show_runs


@pytest.fixture(autouse=True)
def in_terminal(monkeypatch):
    monkeypatch.setattr("tuner.search.progress.is_piped", lambda: False)


@pytest.fixture
def piped(monkeypatch):
    monkeypatch.setattr("tuner.search.progress.is_piped", lambda: True)


def last_line(capsys):
    return [part for part in capsys.readouterr().err.replace("\n", "\r").split("\r") if part][-1]


def test_line_shows_done_pruned_failed_and_best(capsys):
    with ProgressBar(total=8, timeout=None, metric="accuracy", enabled=True) as bar:
        bar.update(finished=5, pruned=2, failed=1, best=0.97125)

    line = last_line(capsys)
    assert line.startswith("5/8 trials |")
    assert "2 pruned, 1 failed, best accuracy 0.9712 [00:00<00:00]" in line


def test_narrow_terminal_loses_the_bar_and_not_the_time(capsys):
    with ProgressBar(total=400, timeout=None, metric="accuracy", enabled=True) as bar:
        bar._bar.dynamic_ncols, bar._bar.ncols = None, 60
        bar.update(finished=118, pruned=48, failed=0, best=0.98611)

    assert last_line(capsys).rstrip() == "118/400, 48 pruned, best accuracy 0.9861 [00:00<00:00]"


def test_a_study_with_more_trials_than_asked_is_done(capsys):
    with ProgressBar(total=40, timeout=None, metric="accuracy", enabled=True) as bar:
        bar.update(finished=43, pruned=18, failed=0, best=1.0)

    assert last_line(capsys).startswith("43/43 trials |")


def test_runs_that_are_no_trials_are_counted_as_what_they_are_once_their_number_is_known(capsys):
    with show_runs("runs from fresh seeds", "mean rmse", enabled=True) as show:
        assert capsys.readouterr().err == ""
        show(0, 4, None)
        show(3, 4, 2.5)

    line = last_line(capsys)
    assert line.startswith("3/4 runs from fresh seeds |")
    assert "| best mean rmse 2.5 [" in line


@pytest.mark.parametrize("best", [None, float("nan")])
def test_best_is_a_dash_until_there_is_one_and_no_failures_are_not_mentioned(best, capsys):
    with ProgressBar(total=8, timeout=None, metric="rmse", enabled=True) as bar:
        bar.update(finished=1, pruned=1, failed=0, best=best)

    assert "1 pruned, best rmse - [" in last_line(capsys)


def test_disabled_bar_writes_nothing(capsys):
    with ProgressBar(total=8, timeout=1.0, metric="rmse", enabled=False) as bar:
        bar.update(finished=1, pruned=0, failed=0, best=1.0)

    assert capsys.readouterr() == ("", "")


def test_search_without_a_number_of_trials_shows_the_time_that_is_left(capsys):
    with ProgressBar(total=None, timeout=7200.0, metric="rmse", enabled=True) as bar:
        bar.update(finished=3, pruned=0, failed=0, best=1.0)

    line = last_line(capsys)
    assert line.startswith("3 trials, 0 pruned, best rmse 1 [00:00<")
    assert "<1:59:5" in line or "<2:00:00" in line


@pytest.mark.parametrize(
    ("elapsed", "timeout", "initial", "left"),
    [
        (1000, None, 0, "<16:4"),
        (1000, 1030, 0, "<00:"),
        (10, None, 90, "<01:4"),
        (10, None, 100, "<?"),
    ],
    ids=["by-trials", "by-timeout", "resumed", "resumed-and-nothing-new"],
)
def test_time_left_is_the_nearest_end_and_counts_only_this_runs_trials(
    elapsed, timeout, initial, left, capsys
):
    with ProgressBar(
        total=200, timeout=timeout, metric="rmse", enabled=True, initial=initial
    ) as bar:
        bar._bar.start_t = time.time() - elapsed
        bar.update(finished=100, pruned=0, failed=0, best=1.0)

    assert left in last_line(capsys)


def test_closing_twice_does_nothing_more(capsys):
    bar = ProgressBar(total=1, timeout=None, metric="rmse", enabled=True)
    bar.close()
    capsys.readouterr()

    bar.close()

    assert capsys.readouterr().err == ""


def test_interrupted_search_leaves_its_line(capsys):
    def interrupted_search():
        with ProgressBar(total=2, timeout=None, metric="rmse", enabled=True) as bar:
            bar.update(finished=1, pruned=0, failed=0, best=1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_search()

    assert capsys.readouterr().err.endswith("\n")


def test_the_clock_moves_on_while_a_long_trial_trains(capsys, monkeypatch):
    monkeypatch.setattr("tuner.search.progress._TICK_S", 0.0)
    with ProgressBar(total=2, timeout=None, metric="accuracy", enabled=True) as bar:
        capsys.readouterr()
        bar.tick()
        drawn = capsys.readouterr().err

    assert "0/2 trials" in drawn


@pytest.mark.usefixtures("piped")
def test_a_file_gets_a_line_after_the_first_trial_and_after_each_tenth(capsys):
    with ProgressBar(total=60, timeout=None, metric="accuracy", enabled=True) as bar:
        for n in range(1, 61):
            bar.tick()
            bar.update(finished=n, pruned=n // 2, failed=0, best=0.5)

    lines = capsys.readouterr().err.splitlines()
    assert [line.split("/")[0] for line in lines] == "1 6 12 18 24 30 36 42 48 54 60".split()
    assert lines[1].startswith("6/60 trials, 3 pruned, best accuracy 0.5 [00:00<00:0")


@pytest.mark.usefixtures("piped")
def test_a_file_is_told_where_an_interrupted_search_ended(capsys):
    with ProgressBar(total=100, timeout=None, metric="rmse", enabled=True) as bar:
        bar.update(finished=11, pruned=0, failed=0, best=1.0)
        bar.update(finished=13, pruned=0, failed=0, best=1.0)

    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == [
        "11/100",
        "13/100",
    ]


@pytest.mark.usefixtures("piped")
def test_a_file_gets_a_line_each_tenth_of_the_time_where_only_time_ends_the_search(capsys):
    with ProgressBar(total=None, timeout=100.0, metric="rmse", enabled=True) as bar:
        for elapsed in range(0, 101, 5):
            bar._bar.start_t = bar._bar._time() - elapsed
            bar.update(finished=3 * elapsed, pruned=0, failed=0, best=1.0)

    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [str(30 * tenth) for tenth in range(11)]


@pytest.mark.usefixtures("piped")
def test_a_study_that_is_done_already_writes_nothing_to_a_file(capsys):
    with ProgressBar(total=9, timeout=None, metric="rmse", enabled=True, initial=9) as bar:
        bar.update(finished=9, pruned=0, failed=0, best=1.0)

    assert capsys.readouterr().err == ""
