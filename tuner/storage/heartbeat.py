"""Which processes work on a study: they sign in, give signs of life, and requeue lost trials."""

from __future__ import annotations

import itertools
import os
import platform
import random
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from tuner.storage.backends import StorageError
from tuner.storage.optuna_internals import requeue_trial, study_attrs
from tuner.storage.study import Session

# Seconds between two signs of life, and how many may fail to come before a process on another
# machine counts as dead; of one on this machine the operating system knows.
INTERVAL_S = 5.0
_MISSED = 6

# Two readings of when a machine or a process began differ by the clock's corrections.
_CLOCK_S = 2.0

# In which few processes that begin at once find their numbers, and from how many on they are many.
_FEW_ROUNDS = 4
_MANY = 4
_PAUSE_S = 0.02  # for each of the others

# Between two looks whether it is one's turn: for the next one, and for those far behind at most.
_TURN_S, _LONGEST_TURN_S = 0.1, 2.0

# From here on those are numbered that do not train, so that the others' numbers have no gaps.
_ASIDE = 1_000_000

_PREFIX = "worker:"
_STOP = "stop_requested"

# Signs of the searches of this very process: one that ended by an error leaves none behind.
_ACTIVE: set[str] = set()


class Heartbeat:
    """One process's presence in a study, while it is used as a context.

    It takes a number, the lowest that is free, and writes under it where it runs and which trials
    it has under way, every few seconds and from a thread of its own. Trials left RUNNING that no
    living process has go back into the queue, with their number, hyperparameters and seed. The
    clocks of machines are never compared: a sign is fresh if it has changed lately by one's own.

    Args:
        session: of the study; in memory no other process sees it, and no sign is needed.
        run: what `stop_everywhere` stops; None for a search that is stopped by itself alone.
        interval: seconds between two signs.
        task: what it signs in for, where that is not to train.

    Attributes:
        number: of this process in the study, from 0.
        trials: numbers of its trials under way; add them under ``lock``.
        lock: keeps the thread from judging a trial that is just being taken.
        stopped: set once the run is to stop.
        is_shared: whether other processes can see the study.
    """

    def __init__(
        self,
        session: Session,
        *,
        run: str | None = None,
        interval: float = INTERVAL_S,
        task: str | None = None,
    ) -> None:
        self._task = task
        self._session, self._run, self._interval = session, run, interval
        self._study = session.study
        self.is_shared = not isinstance(session.storage, InMemoryStorage)
        self._token, self._pid = uuid.uuid4().hex, os.getpid()
        self._beat = 0
        self._seen: dict[str, tuple[Any, float]] = {}  # sign and when it last changed
        self._doubted: dict[int, dict[str, int]] = {}  # trial: others' beats when first missed
        self._ended, self.stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.lock = threading.RLock()
        self.trials: set[int] = set()
        self.number, self._has_turn, self._keeps = 0, False, False

    def __enter__(self) -> Heartbeat:
        """Sign in, requeue the trials of dead processes, and start to give signs of life."""
        attrs: dict[str, Any] | None = None
        try:
            if self.is_shared:
                if self._task is None:
                    self._wait_for_signs()
                attrs = self._sign_in()
                self._thread = threading.Thread(target=self._go_on, daemon=True)
                self._thread.start()
            if self._task is None:  # who trains looks after the trials
                self.requeue_dead_trials(attrs)
        except BaseException:  # Ctrl-C too: what never began must not look alive
            self._ended.set()
            _ACTIVE.discard(self._token)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Requeue the trials still under way, and sign out; not in a fork, which has signed in
        nowhere.
        """
        if os.getpid() != self._pid:
            return
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * self._interval)
        _ACTIVE.discard(self._token)
        try:
            if self._task is None:
                self.requeue()
            if self.is_shared:
                self._study.set_user_attr(_PREFIX + self._token, None)
        except (StorageError, StorageInternalError):
            # What ended the search is told already; another process takes over in time.
            if error[0] is None:
                raise

    def others(self) -> list[int]:
        """Return the numbers of the other processes that are alive and train."""
        return sorted(s["number"] for s in self._others().values() if s.get("task") is None)

    def is_kept(self) -> bool:
        """Whether another living process keeps its turn at the task."""
        return any(sign.get("keeps") for sign in self._rivals())

    def wait_for_turn(
        self, *, keep: bool = False, is_done: Callable[[], bool] = lambda: False
    ) -> bool:
        """Wait until no other living process has its turn at the task; the lowest number is next.

        A turn is announced and then looked at again, as another process may announce its own at the
        same moment: of two each sees the other's, and the higher number steps back. The turn ends
        with the context.

        Args:
            keep: whether the turn may last, so that others do not wait for its end.
            is_done: says that nothing of the task is left to do, which ends the waiting.

        Returns:
            Whether it is this process's turn, which is not so if another one keeps its own, or has
            done it all.
        """
        while self.is_shared:
            rivals = self._rivals()
            if keep and any(sign.get("keeps") for sign in rivals):
                return False
            n_before = sum(sign["number"] <= self.number for sign in rivals)
            is_next = n_before == 0
            if self._has_turn and is_next and not any(sign.get("turn") for sign in rivals):
                break
            if self._has_turn != is_next:
                self._has_turn = is_next
                self._write()
            elif not self._has_turn and is_done():
                return False
            else:  # the longer the queue, the seldomer each looks: the storage serves them all
                time.sleep(min(_TURN_S * max(1, n_before), _LONGEST_TURN_S))
        if keep and self.is_shared:
            self._keeps = True
            self._write()
        return True

    def _rivals(self) -> list[dict[str, Any]]:
        return [s for s in self._others().values() if s.get("task") == self._task]

    def _others(self, attrs: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        """Return the signs of the other processes that are alive, from the study's attributes."""
        return self._living(self._signs(attrs) if self.is_shared else {})

    def _living(self, signs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {t: s for t, s in signs.items() if t != self._token and self._is_alive(t, s)}

    def requeue(self) -> None:
        """Return this process's trials under way to the queue."""
        with self.lock:
            for number in sorted(self.trials):
                requeue_trial(self._session, number)
            self.trials.clear()
            self.requeue_dead_trials()  # of one that was just being taken when Ctrl-C came

    def requeue_dead_trials(self, attrs: dict[str, Any] | None = None) -> list[int]:
        """Requeue trials that a dead process left RUNNING; return their numbers.

        Of several living processes the one with the lowest number does it.

        Args:
            attrs: the study's attributes, if they have just been read.
        """
        with self.lock:
            others = self._others(attrs)
            if any(sign["number"] < self.number for sign in others.values()):
                return []
            held = self.trials.union(*(sign["trials"] for sign in others.values()))
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            left = [trial.number for trial in running if trial.number not in held]
            beats = {token: sign["beat"] for token, sign in others.items()}
            self._doubted = {n: self._doubted.get(n, beats) for n in left}
            taken = [n for n in left if self._is_missed(n, beats)]
            for number in taken:
                requeue_trial(self._session, number)
            return taken

    def _is_missed(self, trial: int, beats: dict[str, int]) -> bool:
        """Whether all others had time to say that the trial is theirs, and none did."""
        first = self._doubted[trial]
        return all(beat >= first.get(token, beat) + 2 for token, beat in beats.items())

    def _go_on(self) -> None:
        is_told = False
        while not self._ended.wait(self._interval):
            try:
                self._beat_once()
            except (StorageError, StorageInternalError) as error:
                # If the error lasts, the search itself meets it; a passing one may pass.
                if not is_told:
                    warnings.warn(f"no sign of life could be written ({error})", stacklevel=2)
                is_told = True

    def _beat_once(self) -> None:
        attrs = self._attrs()
        if self._run is not None and attrs.get(_STOP) == self._run:
            self.stopped.set()
        if self._token in self._signs(attrs):
            self._write()
            self.requeue_dead_trials(attrs)
        else:
            self.requeue_dead_trials(self._sign_in())  # it was taken for dead while it slept

    def _sign_in(self) -> dict[str, Any]:
        """Take the lowest number that is free, and clear away the signs of the dead.

        If two processes claim the same number, each sees the other's sign and picks again after a
        random pause. Of many that begin at once so none would ever be alone, so these, and after
        some rounds the few as well, each take another of the free numbers, by their rank among
        those who claim the same.

        Returns:
            The study's attributes as they were read last.
        """
        _ACTIVE.add(self._token)
        signs = self._signs()  # once: who signs in between two looks would be taken for dead
        others = self._living(signs)
        for token in signs.keys() - others.keys() - {self._token}:
            self._study.set_user_attr(_PREFIX + token, None)
        rank, n_rounds = 0, 0
        while True:
            n_rounds += 1
            taken = {sign["number"] for sign in others.values()}
            first = 0 if self._task is None else _ASIDE
            free = (n for n in itertools.count(first) if n not in taken)
            self.number = next(itertools.islice(free, rank, None))
            self._write()
            attrs = self._attrs()
            others = self._others(attrs)
            rivals = [t for t, sign in others.items() if sign["number"] == self.number]
            if not rivals:
                return attrs
            by_rank = n_rounds >= _FEW_ROUNDS or len(rivals) >= _MANY
            rank = sum(t < self._token for t in rivals) if by_rank else 0
            # The more there are, the longer, or those who wait would be the next to meet.
            time.sleep(random.uniform(0, max(0.1, _PAUSE_S * len(others))))
            others = self._others()

    def _wait_for_signs(self) -> None:
        """Wait to learn whether processes of other machines are alive, if trials are under way."""
        if not self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            return
        signs = {t: sign for t, sign in self._signs().items() if _is_running(t, sign) is None}
        if signs:
            hosts = ", ".join(sorted({str(sign["host"]) for sign in signs.values()}))
            print(
                f"study {self._study.study_name!r} has trials under way on {hosts}: waiting up to "
                f"{_MISSED * self._interval:.0f} s for a sign of life",
                file=sys.stderr,
            )
        while any(self._is_alive(token, sign) for token, sign in signs.items()):
            time.sleep(min(1.0, self._interval / 2))
            now = self._signs()
            if any(now.get(token) != sign for token, sign in signs.items()):
                return

    def _is_alive(self, token: str, sign: dict[str, Any]) -> bool:
        before, since = self._seen.get(token, (None, 0.0))
        if before != sign:
            since = time.monotonic()
            self._seen[token] = (sign, since)
            if before is not None:  # given since the last look: to ask the system takes long
                return True
        running = _is_running(token, sign)
        if running is None:
            return time.monotonic() - since < _MISSED * self._interval
        return running

    def _attrs(self) -> dict[str, Any]:
        return study_attrs(self._session)

    def _signs(self, attrs: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        """Return the signs by their processes' tokens; those who left have none."""
        attrs = self._attrs() if attrs is None else attrs
        return {k.removeprefix(_PREFIX): v for k, v in attrs.items() if k.startswith(_PREFIX) and v}

    def _write(self) -> None:
        with self.lock:  # until it is written, or an older sign of the thread might come later
            self._beat += 1
            sign = {"number": self.number, "beat": self._beat, "trials": sorted(self.trials)}
            if self._task is not None:
                sign |= {"task": self._task, "turn": self._has_turn, "keeps": self._keeps}
            self._study.set_user_attr(_PREFIX + self._token, sign | _place(os.getpid()))


def others_begin(attrs: Mapping[str, Any]) -> bool:
    """Whether other processes have signed in, from a study's attributes; they may have died."""
    return any(key.startswith(_PREFIX) and sign for key, sign in attrs.items())


class Baton:
    """What one process at a time has, of those that share a study, for as long as it likes.

    Who gives it back and then finds something left to do takes it again; so whoever leaves while
    another process has it may leave to that one what there is to do at that time.

    Args:
        session: of the study.
        task: that only one is to do.
    """

    def __init__(self, session: Session, task: str) -> None:
        self._session, self._task = session, task
        self._heartbeat, self._has = Heartbeat(session, task=task), False

    def take(self) -> bool:
        """Take it unless another living process has it; return whether this one has it now."""
        if self._has:
            return True
        if self._heartbeat.is_kept():
            return False
        self._heartbeat.__enter__()
        try:
            self._has = self._heartbeat.wait_for_turn(keep=True)
        finally:
            if not self._has:
                self._sign_out()
        return self._has

    def give_back(self) -> None:
        """Let another process take it."""
        if self._has:
            self._has = False
            self._sign_out()

    def _sign_out(self) -> None:
        # What the next one knows of the others' signs it learns anew.
        heartbeat, self._heartbeat = self._heartbeat, Heartbeat(self._session, task=self._task)
        heartbeat.__exit__(None, None, None)


def stop_everywhere(study: optuna.Study, run: str) -> None:
    """Ask all processes of a run to put back their trials and end, at their next sign of life."""
    study.set_user_attr(_STOP, run)


@cache
def _place(pid: int) -> dict[str, Any]:
    """Return where this process is: its machine, its number there and when it began."""
    return {
        "host": platform.node(),
        "machine": _machine(),
        "boot": _boot_time(),
        "pid": pid,
        "began": psutil.Process(pid).create_time(),
    }


@cache
def _boot_time() -> float:
    return float(psutil.boot_time())


@cache
def _machine() -> str:
    """Return what tells two machines apart, or two containers whose process numbers are alike."""
    namespace = Path("/proc/self/ns/pid")  # of Linux
    return f"{platform.node()} {os.readlink(namespace) if namespace.is_symlink() else ''}"


def _is_running(token: str, sign: dict[str, Any]) -> bool | None:
    """Return whether the process that gave a sign is alive; None if only time can tell."""
    if sign["machine"] != _machine() or abs(sign["boot"] - _boot_time()) > _CLOCK_S:
        return None
    if sign["pid"] == os.getpid():
        return token in _ACTIVE
    try:
        process = psutil.Process(sign["pid"])
        is_same = bool(abs(process.create_time() - sign["began"]) <= _CLOCK_S)
        return is_same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # of another user's process, on macOS and Windows
        return None
