"""Trials as rows of Optuna's tables, read and written by few statements.

Optuna's own ways take a statement for each hyperparameter, report and attribute, and make an object
of each row.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias, cast

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

# Trials that are read by one statement.
_CHUNK = 500

End: TypeAlias = tuple[TrialState, list[float] | None]
"""The state that a trial ends in, and its value."""


@lru_cache(maxsize=1024)
def distribution_of(text: str) -> BaseDistribution:
    """Return the distribution that a JSON text describes; trials share it."""
    return json_to_distribution(text)


def create_in_database(database: RDBStorage, study_id: int, trial: FrozenTrial) -> None:
    """Write a trial that has but parameters and user attributes; it is given its number."""
    from optuna.storages._rdb import models
    from optuna.storages._rdb.storage import _create_scoped_session

    made = statements()
    with _create_scoped_session(database.scoped_session) as session:
        # As Optuna does: the number is that of the trials before.
        if session.execute(made.lock_study, {"study": study_id}).first() is None:
            models.StudyModel.find_or_raise_by_id(study_id, session)
        row = {
            "study_id": study_id,
            "number": None,
            "state": trial.state,
            "datetime_start": _stored_time("datetime_start", trial.datetime_start),
        }
        (trial_id,) = cast(Any, session.execute(made.new_trial, row)).inserted_primary_key
        params = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": distribution.to_internal_repr(trial.params[name]),
                "distribution_json": distribution_to_json(distribution),
            }
            for name, distribution in trial.distributions.items()
        ]
        for model, rows in (
            (models.TrialParamModel, params),
            (models.TrialUserAttributeModel, _attribute_rows(trial_id, trial.user_attrs)),
        ):
            if rows:
                session.execute(_inserted(model), rows)
        which = {"study": study_id, "its_id": trial_id}
        number = session.execute(made.n_before, which).scalar_one()
        session.execute(made.set_number, which | {"its_number": number})
    trial.number, trial._trial_id = number, trial_id


def write_to_database(
    database: RDBStorage,
    trial_id: int,
    reports: Mapping[int, float],
    attributes: Mapping[str, Any],
    end: End | None,
) -> None:
    """Write all rows of a trial in one transaction.

    Raises:
        UpdateFinishedTrialError: if it has ended, or is to end and no longer runs.
    """
    from optuna.storages._rdb import models
    from optuna.storages._rdb.storage import _create_scoped_session

    made = statements()
    Report, Value = models.TrialIntermediateValueModel, models.TrialValueModel
    with _create_scoped_session(database.scoped_session, True) as session:
        which = {"its_id": trial_id}
        found = session.execute(made.state if end is None else made.lock_state, which)
        if (state := found.scalar()) is None:
            state = models.TrialModel.find_or_raise_by_id(trial_id, session).state
        database.check_trial_is_updatable(trial_id, cast(TrialState, state))
        if end is not None and state is not TrialState.RUNNING:
            raise UpdateFinishedTrialError(f"trial {trial_id} was taken over")
        rows: list[dict[str, Any]] = []
        for step, report in reports.items():
            stored, kind = Report.intermediate_value_to_stored_repr(report)
            value = {"intermediate_value": stored, "intermediate_value_type": kind}
            rows.append({"trial_id": trial_id, "step": step} | value)
        _put(session, Report, "step", rows)
        _put(session, models.TrialUserAttributeModel, "key", _attribute_rows(trial_id, attributes))
        if end is None:
            return
        rows = []
        for objective, number in enumerate(end[1] or ()):
            finite, sort = Value.value_to_stored_repr(number)
            row = {"trial_id": trial_id, "objective": objective, "value": finite}
            rows.append(row | {"value_type": sort})
        _put(session, Value, "objective", rows)
        now = _stored_time("datetime_complete", datetime.datetime.now())
        session.execute(made.end, which | {"its_state": end[0], "now": now})


def _stored_time(column: str, when: datetime.datetime | None) -> datetime.datetime | None:
    """Return a time of a trial as Optuna stores it, which it converts in a property."""
    from optuna.storages._rdb.models import TrialModel

    row = TrialModel()
    setattr(row, column, when)
    attribute = TrialModel.__mapper__.get_property_by_column(TrialModel.__table__.c[column])
    return cast(datetime.datetime | None, getattr(row, attribute.key))


def _attribute_rows(trial_id: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]


def _put(session: Any, model: Any, key: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows of a trial, or update those whose key is there."""
    if not rows:
        return
    keys, changed = _keyed(model, key, tuple(rows[0]))
    known = set(session.execute(keys, {"its_trial_id": rows[0]["trial_id"]}).scalars())
    if new := [row for row in rows if row[key] not in known]:
        session.execute(_inserted(model), new)
    if old := [{f"its_{k}": v for k, v in row.items()} for row in rows if row[key] in known]:
        session.execute(changed, old)


@cache
def _inserted(model: Any) -> Any:
    return model.__table__.insert()


@cache
def _keyed(model: Any, key: str, names: tuple[str, ...]) -> tuple[Any, Any]:
    """Return the statements that find the keys of a trial, and that change rows by their keys."""
    from sqlalchemy import bindparam, select, update

    columns = model.__table__.c
    its: dict[str, Any] = {name: bindparam(f"its_{name}") for name in names}
    is_of_trial = columns.trial_id == its.pop("trial_id")
    changed = update(model.__table__).where(is_of_trial, columns[key] == its.pop(key))
    return select(columns[key]).where(is_of_trial), changed.values(its)


def states_of(session: Any, study_id: int, low: int, last: int) -> dict[int, TrialState]:
    """Return the states of trials from ``low`` on that are under way or newer than ``last``."""
    which = {"study": study_id, "low": low, "last": last}
    return {trial_id: state for trial_id, state in session.execute(statements().states, which)}


def whole_trials(session: Any, trial_ids: Sequence[int]) -> list[FrozenTrial]:
    """Read trials with all they have, in the order of their identifiers; those that do not exist
    are left out.
    """
    found, made = [], statements()
    for start in range(0, len(trial_ids), _CHUNK):
        chunk = list(trial_ids[start : start + _CHUNK])
        rows = session.scalars(made.trials, {"trial_ids": chunk}).all()
        parts: defaultdict[int, list[Any]] = defaultdict(list)
        found_parts = session.execute(made.parts, {"trial_ids": chunk})
        for part in sorted(found_parts, key=lambda p: p[1:3]):
            parts[part[0]].append(part[1:])
        found += [_assembled(row, parts[row.trial_id]) for row in rows]
    return found


_PARAM, _USER, _SYSTEM, _VALUE, _REPORT = range(5)


class Statements(NamedTuple):
    """Statements that are made once, as that takes as long as to execute them."""

    attributes: Any
    set_attribute: Any
    states: Any
    trials: Any
    parts: Any
    lock_study: Any
    new_trial: Any
    n_before: Any
    set_number: Any
    state: Any
    lock_state: Any
    end: Any


@cache
def statements() -> Statements:
    """Return the statements on Optuna's tables."""
    from optuna.storages._rdb import models
    from sqlalchemy import bindparam, func, or_, select, update

    Trial, attribute = models.TrialModel, models.StudyUserAttributeModel.__table__
    study, trials = models.StudyModel.__table__, Trial.__table__
    is_it = trials.c.trial_id == bindparam("its_id")
    is_before = trials.c.trial_id < bindparam("its_id")
    state = select(trials.c.state).where(is_it)
    of_study = attribute.c.study_id == bindparam("study")
    is_new = Trial.trial_id > bindparam("last")
    is_open = Trial.state.in_([TrialState.RUNNING, TrialState.WAITING])
    is_of_study = Trial.study_id == bindparam("study")
    is_late = Trial.trial_id >= bindparam("low")
    chosen = Trial.trial_id.in_(bindparam("trial_ids", expanding=True))
    return Statements(
        attributes=select(attribute.c.key, attribute.c.value_json).where(of_study),
        set_attribute=update(attribute)
        .where(of_study, attribute.c.key == bindparam("its_key"))
        .values(value_json=bindparam("text")),
        states=select(Trial.trial_id, Trial.state).where(
            is_of_study, is_late, or_(is_open, is_new)
        ),
        trials=select(Trial).where(chosen).order_by(Trial.trial_id),
        parts=_parts(),
        lock_study=select(study.c.study_id)
        .where(study.c.study_id == bindparam("study"))
        .with_for_update(),
        new_trial=trials.insert(),
        n_before=select(func.count())
        .select_from(trials)
        .where(trials.c.study_id == bindparam("study"), is_before),
        set_number=update(trials).where(is_it).values(number=bindparam("its_number")),
        state=state,
        lock_state=state.with_for_update(),
        end=update(trials)
        .where(is_it)
        .values(state=bindparam("its_state"), datetime_complete=bindparam("now")),
    )


def _parts() -> Any:
    """Return the statement that reads what trials have in all tables, as rows of one shape: trial,
    kind, number, name, value and text.
    """
    from optuna.storages._rdb import models
    from sqlalchemy import String, bindparam, literal_column, null, select, union_all
    from sqlalchemy import cast as as_type

    tables: list[tuple[int, Any, list[Any]]] = []
    params = models.TrialParamModel.__table__.c
    columns = [params.param_id, params.param_name, params.param_value, params.distribution_json]
    tables.append((_PARAM, params, columns))
    for kind, model in (
        (_USER, models.TrialUserAttributeModel),
        (_SYSTEM, models.TrialSystemAttributeModel),
    ):
        c = model.__table__.c
        (number,) = model.__table__.primary_key
        tables.append((kind, c, [number, c.key, null(), c.value_json]))
    values, reports = models.TrialValueModel, models.TrialIntermediateValueModel
    for kind, model, number, name in (
        (_VALUE, values, "objective", "value"),
        (_REPORT, reports, "step", "intermediate_value"),
    ):
        c = model.__table__.c
        tables.append((kind, c, [c[number], as_type(c[f"{name}_type"], String), c[name], null()]))
    return union_all(
        *(
            select(c.trial_id, literal_column(str(kind)).label("kind"), *columns).where(
                c.trial_id.in_(bindparam("trial_ids", expanding=True))
            )
            for kind, c, columns in tables
        )
    )


def _assembled(row: Any, parts: Iterable[Any]) -> FrozenTrial:
    """Return the trial of a row of the trials' table and of its parts in the others."""
    from optuna.storages._rdb.models import TrialIntermediateValueModel as Report
    from optuna.storages._rdb.models import TrialValueModel as Value

    params, distributions, values, reports = {}, {}, [], {}
    attributes: dict[int, dict[str, Any]] = {_USER: {}, _SYSTEM: {}}
    for kind, number, name, value, text in parts:
        if kind == _PARAM:
            distributions[name] = distribution_of(text)
            params[name] = distributions[name].to_external_repr(value)
        elif kind == _VALUE:
            values.append(Value.stored_repr_to_value(value, Value.TrialValueType[name]))
        elif kind == _REPORT:
            stored = Report.TrialIntermediateValueType[name]
            reports[number] = Report.stored_repr_to_intermediate_value(value, stored)
        else:
            attributes[kind][name] = json.loads(text)
    return FrozenTrial(
        trial_id=row.trial_id,
        number=row.number,
        state=row.state,
        value=None,
        values=values or None,
        datetime_start=row.datetime_start,
        datetime_complete=row.datetime_complete,
        params=params,
        distributions=distributions,
        user_attrs=attributes[_USER],
        system_attrs=attributes[_SYSTEM],
        intermediate_values=reports,
    )
