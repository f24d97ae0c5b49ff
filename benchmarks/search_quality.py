"""Three choices of the search, judged on simulated learning curves.

    python benchmarks/search_quality.py LCBENCH_FOLDER [--question NAME] [--seeds 2]

1. Does asking TPE for several trials at once pay, so that the fused engine trains them as one
   stack? See `cohort_policies.POLICIES`. There is a table at equal numbers of trials and two at
   equal wall time: with a trial's cost by its optimizer steps (``steps``), or the same for every
   batch size (``equal``). The unit is a random trial that trains alone; `stack_costs` has the
   speed-up of stacks. All trials run to their last epoch.
2. Which pruner should be the default? See `pruner_choice.PRUNERS`; the budgets count epochs, in
   trials of all of them.
3. With what should a search begin, and which sampler should go on? See `start_choice.STARTS`.

Each table has the mean normalised regret of the best trial so far (0: the best of 5,000 random
configurations, 1: their median), and its difference to the present default on the same task and
seed with the standard error of the mean; ``better/worse`` counts tasks at the last budget.
LCBENCH_FOLDER holds the surrogate, see `lcbench`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cohort_policies
import cohort_search
import optuna
import pandas as pd
import pruner_choice
import stack_costs
import start_choice
from lcbench import Task, load_tasks

from objectives.objective import trial_seed


def simulate(
    tasks: Sequence[Task], seeds: Sequence[int], names: Sequence[str], run: Callable[..., object]
) -> pd.DataFrame:
    """Run every search; return a row each, indexed by name, task and seed.

    The sampler's own seed differs by task: all tasks would share their first random trials, and
    the standard errors would be too small.
    """
    rows = {
        (name, task.name, seed): run(task, name, seed=trial_seed(seed, int(task.name)))
        for task in tasks
        for seed in seeds
        for name in names
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["name", "task", "seed"])
    return frame


def show(frame: pd.DataFrame, group: str, baseline: str) -> None:
    """Print one table: a line for each name, a pair of columns for each budget of ``group``."""
    columns = [column for column in frame.columns if column.startswith(f"{group} ")]
    heads = [column.removeprefix(f"{group} ") for column in columns]
    print(f"\n{group:40s}" + "".join(f"{head:>7s}   {'difference':15s}" for head in heads), end="")
    print("better/worse")
    for name in frame.index.unique("name"):
        line = f"{name:40s}"
        for column in columns:
            regret = frame[column].xs(name)
            gap = regret - frame[column].xs(baseline)
            error = gap.std() / len(gap) ** 0.5
            line += f"{regret.mean():7.3f}   {gap.mean():+.3f} +- {error:.3f}"
        by_task = gap.groupby("task").mean()
        print(f"{line}   {(by_task < 0).sum():d}/{(by_task > 0).sum():d}")


def chosen(names: Iterable[str], baseline: str, wanted: Sequence[str] | None) -> list[str]:
    """Return the wanted names, all where none is given, and the baseline."""
    return [name for name in names if wanted is None or name in (baseline, *wanted)]


def cohorts(tasks: Sequence[Task], options: argparse.Namespace) -> pd.DataFrame:
    """Answer the first question."""
    names = chosen(cohort_policies.POLICIES, cohort_policies.BASELINE, options.names)

    def run(task: Task, name: str, *, seed: int) -> dict[str, float]:
        return cohort_search.regrets(task, name, seed=seed, widths=options.widths)

    frame = simulate(tasks, options.range, names, run)
    for group in ("trials", *stack_costs.CLOCKS):
        show(frame, group, cohort_policies.BASELINE)
    return frame


def pruners(tasks: Sequence[Task], options: argparse.Namespace) -> pd.DataFrame:
    """Answer the second question."""
    names = chosen(pruner_choice.PRUNERS, pruner_choice.BASELINE, options.names)

    def run(task: Task, name: str, *, seed: int) -> dict[str, float]:
        return pruner_choice.regrets(task, name, seed=seed, patience=options.patience or None)

    frame = simulate(tasks, options.range, names, run)
    show(frame, "budget", pruner_choice.BASELINE)
    counts = frame[["n trials", "n pruned"]].groupby("name", sort=False).mean()
    print(f"\n{counts.round(1).to_string()}")
    return frame


def starts(tasks: Sequence[Task], options: argparse.Namespace) -> pd.DataFrame:
    """Answer the third question."""
    names = chosen(start_choice.STARTS, start_choice.BASELINE, options.names)
    portfolios = start_choice.portfolios(tasks)

    def run(task: Task, name: str, *, seed: int) -> dict[str, float]:
        return start_choice.regrets(task, name, portfolios[task.name], seed=seed)

    frame = simulate(tasks, options.range, names, run)
    show(frame, "budget", start_choice.BASELINE)
    return frame


QUESTIONS = {"cohorts": cohorts, "pruners": pruners, "starts": starts}


def main() -> None:
    """Simulate the searches and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--question", choices=list(QUESTIONS), help="one of them; default: all")
    parser.add_argument("--tasks", type=int, help="the first so many; default: all 17")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--names", nargs="+", help="what to compare; default: all")
    parser.add_argument("--widths", choices=["product", "narrow"], default="product")
    parser.add_argument("--patience", type=int, default=20, help="in epochs; 0 for none")
    parser.add_argument("--out", type=Path, help="a folder for the single results as CSV")
    options = parser.parse_args()
    options.range = range(options.first_seed, options.first_seed + options.seeds)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    tasks = load_tasks(options.folder, options.tasks)
    for question, answer in QUESTIONS.items():
        if options.question in (None, question):
            start = time.perf_counter()
            frame = answer(tasks, options)
            print(f"\n{question}: {len(frame)} searches, {time.perf_counter() - start:.0f} s")
            if options.out:
                frame.to_csv(options.out / f"{question}.csv")


if __name__ == "__main__":
    main()
