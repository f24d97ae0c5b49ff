"""What a second process brings: searches of equal time with one process and with several.

    python benchmarks/cores.py DATA_FOLDER [--seconds 40] [--repeats 2] [--n-jobs 2]

The sides take turns. Trials and epochs count what was done in the time; the best value says what it
brought on the validation rows. Neither training again nor an ensemble follows the search.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from quality import load

from tuner import tune_mlp

_ROWS = 8000


def main() -> None:
    """Search each table in turns and print a line a search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--n-jobs", type=int, default=2)
    options = parser.parse_args()
    for name in ("california_housing", "phoneme", "digits"):
        built_in = name == "digits"
        table = None if built_in else load(options.folder, name)[0]
        if table is not None and len(table) > _ROWS:
            table = table.sample(_ROWS, random_state=0)
        for n_jobs in (1, options.n_jobs) * options.repeats:
            result = tune_mlp(
                name if table is None else table,
                target=None if built_in else "target",
                n_trials=1000,
                timeout=options.seconds,
                n_jobs=n_jobs,
                confirm=False,
                ensemble=False,
                show_progress_bar=False,
            )
            trials = result.trials_dataframe()
            print(
                f"{name}, {n_jobs} processes: {len(trials)} trials, "
                f"{trials['epochs_run'].sum()} epochs, best {result.objective.metric.name} "
                f"{result.best_value:.5g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
