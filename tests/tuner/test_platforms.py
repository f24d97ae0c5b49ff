"""What other systems lack is not needed: links, forks, signals and modules of POSIX."""

import errno
import json
import os
import subprocess
import sys
import threading

import pytest

from tests.tuner.search.test_executors import slow_square
from tuner import load_study, tune
from tuner.cli.console import _resume_command
from tuner.storage.backends import _MendingLock

X = {"space": {"x": (0.0, 1.0)}, "show_progress_bar": False}

# As on Windows, as far as a process of Linux can be without it. The libraries are loaded before.
WITHOUT_POSIX = """
import multiprocessing, os, signal, sys
import matplotlib.pyplot, optuna, pandas, psutil, typer.testing
import sklearn.pipeline, torch, torchvision
for module in ("fcntl", "grp", "multiprocessing.forkserver", "pwd", "resource", "termios"):
    sys.modules[module] = None
for name in ("fork", "geteuid", "getuid", "link", "register_at_fork", "sched_getaffinity", "uname"):
    delattr(os, name)
for name in ("SIGALRM", "SIGHUP", "SIGUSR1"):
    delattr(signal, name)
def refuse(*_, **__):
    raise OSError(22, "A required privilege is not held by the client")
os.symlink = refuse
multiprocessing.get_all_start_methods = lambda: ["spawn"]
sys.platform = "win32"
"""

SEARCHES = """
if __name__ == "__main__":
    import json
    from tests.tuner.commands import run
    from tuner import load_result, tune_mlp

    call = {"space": {"n_layers": 1, "batch_size": 32, "epochs": 2}, "show_progress_bar": False}
    tune_mlp("iris", n_trials=3, storage="s.journal", checkpoint=True, **call)
    result = tune_mlp("iris", n_trials=5, n_jobs=2, storage="s.journal", checkpoint=True, **call)
    result.report("s.html")
    kept = load_result("s.journal").best_model
    shown = run("show", "s.journal", "--json")
    more = run("resume", "s.journal", "--n-trials", "6", "--quiet", "--json")
    assert more.exit_code == 0, more.output
    print(json.dumps([json.loads(shown.stdout)["states"], json.loads(more.stdout)["n_trials"]]))
"""


def refuse_links(monkeypatch, number=errno.EPERM):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "symlink", refuse)


@pytest.mark.slow
def test_searches_reports_and_commands_run_without_what_only_posix_has(in_folder):
    (in_folder / "searches.py").write_text(WITHOUT_POSIX + SEARCHES)

    done = subprocess.run(
        [sys.executable, "searches.py"], capture_output=True, text=True, timeout=240
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [{"COMPLETE": 5}, 6]
    assert not list(in_folder.glob("*.lock*"))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_journal_needs_no_links(number, tmp_path, monkeypatch):
    refuse_links(monkeypatch, number)
    path = tmp_path / "s.journal"

    tune(slow_square, n_trials=2, storage=path, **X)
    tune(slow_square, n_trials=3, storage=path, **X)

    assert len(load_study(path).trials) == 3
    assert [p.name for p in tmp_path.iterdir() if "lock" in p.name] == []


def test_a_folder_that_cannot_be_written_is_still_said_to_be_so(tmp_path, monkeypatch):
    refuse_links(monkeypatch, errno.EACCES)

    with pytest.raises(OSError, match="Permission denied"):
        tune(slow_square, n_trials=1, storage=tmp_path / "s.journal", **X)


@pytest.mark.timeout(60)
def test_a_lock_that_is_a_file_is_taken_over_from_a_process_that_died(tmp_path, monkeypatch):
    refuse_links(monkeypatch)
    path = tmp_path / "s.journal"
    _MendingLock(path).acquire()

    tune(slow_square, n_trials=1, storage=path, **X)

    assert len(load_study(path).trials) == 1


@pytest.mark.parametrize("first", ["by a link", "by a file"])
def test_a_lock_by_a_link_and_one_by_a_file_exclude_each_other(first, tmp_path, monkeypatch):
    path = tmp_path / "s.journal"
    path.touch()
    linking, other, taken = _MendingLock(path), _MendingLock(path), threading.Event()
    with monkeypatch.context() as without_links:
        refuse_links(without_links)
        other.acquire()
        other.release()
    holder, waiter = (linking, other) if first == "by a link" else (other, linking)
    holder.acquire()
    thread = threading.Thread(target=lambda: (waiter.acquire(), taken.set()))
    thread.start()

    assert not taken.wait(0.2)
    holder.release()
    assert taken.wait(30)
    thread.join()
    waiter.release()


def test_a_lock_that_windows_is_removing_is_waited_for(tmp_path, monkeypatch):
    refuse_links(monkeypatch)
    monkeypatch.setattr("tuner.storage.backends.sys.platform", "win32")
    really, refusals = os.open, [PermissionError(errno.EACCES, "Access is denied")] * 2

    def open_lock(name, *arguments, **options):
        if str(name).endswith(".lock") and refusals:
            raise refusals.pop()
        return really(name, *arguments, **options)

    monkeypatch.setattr(os, "open", open_lock)
    lock = _MendingLock(tmp_path / "s.journal")

    assert lock.acquire()
    assert refusals == []
    lock.release()


def test_the_command_that_goes_on_is_quoted_as_the_system_types_it(monkeypatch):
    options = {"storage": "my studies/s.journal", "study_name": "mlp"}
    typed = {}
    for platform in ("linux", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        typed[platform] = _resume_command(options)

    assert typed == {
        "linux": "tuner resume 'my studies/s.journal' --study-name mlp",
        "win32": 'tuner resume "my studies/s.journal" --study-name mlp',
    }


def test_signals_that_a_system_lacks_are_not_listened_for():
    code = (
        "import signal\ndel signal.SIGHUP\n"
        "import tuner.cli.console as console, tuner.search.process_cohort as cohort\n"
        "print(console._SIGNALS == [signal.SIGINT, signal.SIGTERM], cohort._OF_TERMINALS)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.stdout.split()[0] == "True", done.stderr
    assert "SIGHUP" not in done.stdout
