"""Several processes on one study: who is alive, whose trials are taken over, and by whom."""

import os
import subprocess
import sys
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from tests.tuner.studies import open_session
from tuner.search.samplers import sampler_source
from tuner.search.trial_queue import TrialQueue
from tuner.storage.backends import open_storage
from tuner.storage.heartbeat import Heartbeat, stop_everywhere

INTERVAL = 0.05
SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}


@pytest.fixture(params=["journal", "db"])
def storage(request, tmp_path):
    return open_storage(tmp_path / f"s.{request.param}")


@pytest.fixture
def session(storage):
    return open_session(storage)


@pytest.fixture
def study(session):
    return session.study


def states(study):
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def signs(study):
    return [v for k, v in study.user_attrs.items() if k.startswith("worker:") and v is not None]


def sign_of(study, number, **changes):
    """Give a sign of life as another process would; return it."""
    sign = {"number": number, "beat": 1, "trials": [], "host": "far", "machine": "far", "pid": 1}
    sign |= {"began": "1"} | changes
    study.set_user_attr("worker:other", sign)
    return sign


def exited_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(INTERVAL / 2)


def queue(session, heartbeat, n_trials, **options):
    return TrialQueue(
        session=session,
        source=sampler_source("random", seed=0),
        n_trials=n_trials,
        heartbeat=heartbeat,
        **options,
    )


def test_each_process_has_the_lowest_number_that_is_free(session):
    with Heartbeat(session) as first, Heartbeat(session) as second:
        assert (first.number, second.number) == (0, 1)
        assert (first.others(), second.others()) == ([1], [0])
    with Heartbeat(session) as third:
        assert third.number == 0
        assert third.others() == []


def test_processes_that_sign_in_at_the_same_moment_get_numbers_of_their_own(session, storage):
    barrier, numbers = threading.Barrier(4, timeout=60), []

    def join():
        own = open_session(storage)
        barrier.wait()
        with Heartbeat(own) as heartbeat:
            barrier.wait()
            numbers.append(heartbeat.number)
            barrier.wait()

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(numbers) == [0, 1, 2, 3]


N_ROUNDS = 8


class InStep(Heartbeat):
    """Signs in as the others do at the same moments: all write, then all read."""

    def __init__(self, session, barrier):
        super().__init__(session)
        self._barrier, self.n_rounds = barrier, 0

    def _others(self, attrs=None):
        if self.n_rounds >= N_ROUNDS:
            return super()._others(attrs)
        self._barrier.wait(60)
        others = super()._others(attrs)
        self._barrier.wait(60)
        self.n_rounds += 1
        return others

    def join(self):
        self._sign_in()
        while self.n_rounds < N_ROUNDS:
            self._others()


def test_many_processes_that_always_act_at_the_same_moment_get_numbers_all_the_same(tmp_path):
    path, barrier = tmp_path / "s.journal", threading.Barrier(12)
    open_session(open_storage(path))
    hearts = [InStep(open_session(open_storage(path)), barrier) for _ in range(12)]
    threads = [threading.Thread(target=heart.join) for heart in hearts]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({heart.number for heart in hearts}) == 12
    assert max(heart._beat for heart in hearts) <= N_ROUNDS


def test_a_process_that_signs_in_while_another_clears_away_the_dead_is_not_cleared_away(
    session, study
):
    second = Heartbeat(session)

    class Looks(Heartbeat):
        """Between its first look at the signs and the next, another process signs in."""

        def _signs(self, attrs=None):
            found = super()._signs(attrs)
            if second.number is None:
                second.number = 0
                second.__enter__()
            return found

    second.number = None
    with Looks(session) as first:
        assert {first.number, second.number} == {0, 1}
        assert sorted(sign["number"] for sign in signs(study)) == [0, 1]
        second.__exit__(None, None, None)


def test_the_trials_of_a_process_that_died_on_this_machine_are_taken_over_at_once(session, study):
    study.ask()
    with Heartbeat(session):
        (mine,) = signs(study)
    sign_of(study, **mine | {"pid": exited_pid(), "trials": [0]})

    with Heartbeat(session) as heartbeat:
        assert heartbeat.number == 0
        assert states(study) == ["WAITING"]


def test_another_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(session, study):
    study.ask()
    with Heartbeat(session):
        (mine,) = signs(study)
    sign_of(study, **mine | {"pid": os.getppid(), "began": 0.0, "trials": [0]})

    with Heartbeat(session):
        assert states(study) == ["WAITING"]


def test_a_process_elsewhere_is_dead_once_its_signs_stop(session, study, capsys):
    study.ask()
    sign_of(study, 0, trials=[0])

    with Heartbeat(session, interval=INTERVAL):
        assert states(study) == ["WAITING"]

    assert "has trials under way on far: waiting up to" in capsys.readouterr().err


def test_a_process_elsewhere_keeps_its_trial_while_its_signs_come(session, study):
    study.ask()
    stopped = threading.Event()

    def live():
        beat = 0
        while not stopped.wait(INTERVAL / 4):
            beat += 1
            sign_of(study, 0, trials=[0], beat=beat)

    other = threading.Thread(target=live)
    other.start()
    try:
        wait_until(lambda: study.user_attrs.get("worker:other", {}).get("beat", 0) > 1)
        with Heartbeat(session, interval=INTERVAL) as heartbeat:
            assert heartbeat.number == 1
            seen = study.user_attrs["worker:other"]["beat"]
            wait_until(lambda: study.user_attrs["worker:other"]["beat"] > seen + 40)
            assert states(study) == ["RUNNING"]
            stopped.set()
            wait_until(lambda: heartbeat.requeue_dead_trials() or states(study) == ["WAITING"])
    finally:
        stopped.set()
        other.join()


def test_a_trial_that_nobody_names_is_left_alone_until_the_others_had_time_to_name_it(
    session, study
):
    with Heartbeat(session) as first:
        study.ask()
        with Heartbeat(session, interval=1000.0) as second:
            assert first.requeue_dead_trials() == []
            second._write()
            assert first.requeue_dead_trials() == []
            second._write()
            assert first.requeue_dead_trials() == [0]


def test_a_process_interrupted_while_it_signs_in_is_not_taken_for_alive(session, monkeypatch):
    def interrupt(heartbeat, attrs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Heartbeat, "requeue_dead_trials", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Heartbeat(session).__enter__()

    with Heartbeat(session) as next_one:
        assert (next_one.number, next_one.others()) == (0, [])


def test_of_two_living_processes_only_the_first_takes_over(session, study):
    with Heartbeat(session), Heartbeat(session) as second:
        study.ask()
        for _ in range(3):
            assert second.requeue_dead_trials() == []


def test_a_process_that_ends_puts_back_what_it_had_under_way(session, study):
    with Heartbeat(session) as heartbeat:
        trial = queue(session, heartbeat, 3).take(lambda params: True)
        assert trial.number == 0
        assert states(study) == ["RUNNING"]
    assert states(study) == ["WAITING"]


def test_a_run_is_stopped_in_all_its_processes_and_in_no_other(session, study):
    with (
        Heartbeat(session, run="mine", interval=INTERVAL) as first,
        Heartbeat(session, run="mine", interval=INTERVAL) as second,
        Heartbeat(session, run="yours", interval=INTERVAL) as third,
    ):
        stop_everywhere(study, "mine")
        assert first.stopped.wait(20)
        assert second.stopped.wait(20)
        assert not third.stopped.is_set()


def test_whoever_waits_for_a_turn_stops_once_another_has_done_all(session):
    left = ["this", "that"]

    def is_done():
        done = not left
        left[:] = left[1:]  # as whoever has the turn does it
        return done

    with Heartbeat(session, task="t") as first, Heartbeat(session, task="t") as second:
        assert first.wait_for_turn()
        assert not second.wait_for_turn(is_done=is_done)

    assert left == []


@pytest.mark.parametrize("n_trials", [1, 7])
def test_processes_that_ask_by_turns_never_make_more_trials_than_wanted(session, n_trials):
    with Heartbeat(session) as first, Heartbeat(session) as second:
        both = [queue(session, h, n_trials) for h in (first, second)]
        taken = [both[i % 2].take(lambda params: True) for i in range(n_trials + 4)]
        numbers = [trial.number for trial in taken if trial is not None]

    assert numbers == list(range(n_trials))


def test_a_trial_made_at_the_same_moment_as_the_last_one_is_left_in_the_queue(session, study):
    with Heartbeat(session) as first, Heartbeat(session) as second:
        late = queue(session, second, 1)
        assert queue(session, first, 1).take(lambda params: True).number == 0
        assert late._new([]) is None  # as if it had not seen the first
        assert states(study) == ["RUNNING", "WAITING"]
        assert late.take(lambda params: True) is None


def test_a_queue_longer_than_wanted_is_taken_from_its_beginning(session, study):
    for x in range(5):
        study.enqueue_trial({"x": float(x)}, user_attrs={"fusetune:params": {"x": float(x)}})
    with Heartbeat(session) as heartbeat:
        claim = queue(session, heartbeat, 2, listed=True)
        taken = [claim.take(lambda params: params["x"] != 0.0) for _ in range(2)]
        rest = claim.take(lambda params: True)

    assert taken[0].number == 1
    assert taken[1] is None
    assert rest.number == 0


def test_only_one_of_several_processes_fills_the_queue_of_a_random_search(session, study):
    def filler(heartbeat):
        return queue(session, heartbeat, 6, n_ahead=6)

    with Heartbeat(session) as first, Heartbeat(session) as second:
        assert filler(second).take(lambda params: True) is None
        assert states(study) == []
        assert filler(first).take(lambda params: True).number == 0
        assert states(study) == ["RUNNING"] + 5 * ["WAITING"]
        assert filler(second).take(lambda params: True).number == 1


def test_a_trial_that_another_process_has_ended_meanwhile_is_let_go(session, study, storage):
    from tuner.search.loop import RunningTrials
    from tuner.search.progress import ProgressBar

    bar = ProgressBar(total=2, timeout=None, metric="value", enabled=False)
    with Heartbeat(session) as heartbeat:
        running = RunningTrials(
            queue=queue(session, heartbeat, 3),
            seed=0,
            deadline=None,
            callbacks=(),
            progress=bar,
        )
        ended, waiting, mine = (running.start(lambda params: True) for _ in range(3))
        study.tell(ended, 1.0)
        storage.set_trial_state_values(
            storage.get_trial_id_from_study_id_trial_number(study._study_id, waiting),
            TrialState.WAITING,
        )
        for number in (ended, waiting, mine):
            running.finish(number, TrialState.COMPLETE, "epochs", 2.0)

    assert running.trials == {}
    assert states(study) == ["COMPLETE", "WAITING", "COMPLETE"]
    assert [study.trials[n].value for n in (ended, mine)] == [1.0, 2.0]
