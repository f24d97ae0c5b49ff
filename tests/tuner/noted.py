"""An objective that trains nothing and notes what it was asked to train."""

from objectives.metrics import METRICS
from objectives.objective import EpochResult
from objectives.space.space import free_space


class KeptModel:
    """A file with the number of the trial that it is of."""

    suffix = ".txt"

    def __init__(self, number):
        self.number = number

    def save(self, path):
        """Write the number."""
        path.write_text(str(self.number))


class Noted:
    """Each trial ends after as many epochs as ``epochs`` says for its number, with ``value``."""

    metric = METRICS["accuracy"]

    def __init__(self, space, *, epochs=lambda number: 1, value=0.5):
        self.space = free_space(space)
        self.epochs, self.value = epochs, value
        self.record = {"objective": "noted", "metric": "accuracy"}
        self.trained = {}

    def cohort(self, *, seed):
        """Return a cohort, which is the objective itself."""
        self.done = {}
        return self

    def has_room(self, params):
        """Say so."""
        return True

    def batch_key(self, params):
        """Return the same for all."""
        return 0

    def add(self, number, params):
        """Note a trial."""
        self.trained[number], self.done[number] = dict(params), 0

    def train_epoch(self):
        """Let an epoch pass."""
        self.done = {number: done + 1 for number, done in self.done.items()}
        return {number: self._result(number, done) for number, done in self.done.items()}

    def _result(self, number, done):
        return EpochResult(
            epoch=done - 1,
            value=self.value,
            valid_loss=0.0,
            train_loss=0.0,
            learning_rate=0.1,
            duration_s=0.0,
            stopped="epochs" if done >= self.epochs(number) else None,
        )

    def drop(self, number):
        """Let a trial go."""
        del self.done[number]

    def model(self, number):
        """Return the trial's number as a model."""
        return KeptModel(number)
