"""How far one has to walk to follow an object through the code: files entered, and returns.

    python benchmarks/trips.py [CHECKOUT]

Four objects are followed while the code runs. Each call of a function that is handed the object
counts once; its files are written down in the order of the calls, the caller's again where it makes
a further call. A return is a step to a file that was entered before.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
sys.path.insert(0, str(ROOT))

from sklearn.datasets import load_iris  # noqa: E402

from objectives import MLPObjective  # noqa: E402
from tuner import tune_mlp  # noqa: E402

PACKAGES = tuple(f"{ROOT / name}/" for name in ("objectives", "tuner"))
Call = tuple[str, Any]


class Walk:
    """Writes down the files of the calls that are handed an object.

    Args:
        names: of the arguments that hold it.
        types: names of the types it has on its way.
        until: name of the function that is its end.
    """

    def __init__(self, names: str, types: Collection[str] = (), until: str = "") -> None:
        self._names, self._types, self._until = set(names.split()), set(types), until
        self._stack: list[Call | None] = []
        self._seen: set[tuple[Any, Any]] = set()
        self.files: list[str] = []

    def follow(self, run: Callable[[], object]) -> tuple[int, int]:
        """Run something; return the number of files entered and of returns."""
        sys.setprofile(self._profile)
        try:
            run()
        finally:
            sys.setprofile(None)
        n_files = len(set(self.files))
        return n_files, len(self.files) - n_files

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "return" and self._stack:
            self._stack.pop()
        elif event == "call":
            self._stack.append(self._call(frame))

    def _call(self, frame: FrameType) -> Call | None:
        code = frame.f_code
        if code.co_name == self._until:
            self._names, self._types = set(), set()
        if not code.co_filename.startswith(PACKAGES) or code.co_name.startswith("<"):
            return None
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if not any(self._is_it(name, frame.f_locals.get(name)) for name in arguments):
            return None
        file = Path(code.co_filename).relative_to(ROOT).as_posix()
        caller = next((call for call in reversed(self._stack) if call), None)
        step = (caller and caller[1], code)
        if step not in self._seen:
            self._seen.add(step)
            for entered in (caller[0] if caller else file, file):
                if not self.files or self.files[-1] != entered:
                    self.files.append(entered)
        return file, code

    def _is_it(self, name: str, value: object) -> bool:
        return value is not None and (name in self._names or type(value).__name__ in self._types)


def main() -> None:
    """Print the four trips."""
    table = load_iris(as_frame=True).frame
    few: dict[str, Any] = {"epochs": 1, "show_progress_bar": False}
    objective = MLPObjective("iris", space={"epochs": 1})
    params = {name: row.default for name, row in objective.space.items()}
    objective.cohort(seed=0).add(0, params)
    with tempfile.TemporaryDirectory() as folder:
        stored = few | {"storage": f"{folder}/iris.journal"}
        result = tune_mlp("iris", n_trials=1, study_name="first", **stored)
        result.report(f"{folder}/first.html")  # what is imported now is in no trip's way
        trips = {
            "dataset from tune_mlp into tensors": (
                Walk("dataset data frame X y table split", {"TabularData", "Split"}, "train_epoch"),
                lambda: tune_mlp(table, target="target", n_trials=1, **few),
            ),
            "storage through opening, copying and queueing": (
                Walk("storage opened session", {"Session"}, "train_epoch"),
                lambda: tune_mlp("iris", n_trials=3, start_from="first", **stored),
            ),
            "a trial's params to the network": (
                Walk("params", {"Shape"}),
                lambda: objective.cohort(seed=0).add(0, params),
            ),
            "study into report": (
                Walk("study view", {"Study", "StudyView"}),
                lambda: result.report(f"{folder}/second.html"),
            ),
        }
        for name, (walk, run) in trips.items():
            n_files, n_returns = walk.follow(run)
            print(f"{name}: {n_files} files, {n_returns} returns")
            print(f"    {' > '.join(walk.files)}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
