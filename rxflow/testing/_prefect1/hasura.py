"""Which rows a question wants, as Hasura has it from PostgreSQL: where, order_by, offset, limit.

A comparison with a null in a row is neither true nor false, and a row is wanted if all is true. An
operand that is null is no comparison at all, as up to Hasura 1.3. Nothing here knows GraphQL, or
what a table means but for `RELATIONS`: which tables belong together.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from rxflow.testing._prefect1.rows import Row

Tables = Mapping[str, Mapping[str, Row]]
"""Rows by their ids, by the names of their tables; in the order in which they were stored."""

Where = Mapping[str, Any]
Order = Sequence[Mapping[str, Any]]

_Truth = bool | None
_Predicate = Callable[[Row], _Truth]


class Refusal(Exception):
    """A question that is not answered.

    Attributes:
        message: What is said to it.
        extensions: What is said beside it.
    """

    def __init__(self, message: str, **extensions: Any) -> None:
        """Refuse."""
        super().__init__(message)
        self.message = message
        self.extensions: dict[str, Any] = {**extensions, "exception": {"message": message}}


def bad_data(message: str) -> Refusal:
    """A refusal of PostgreSQL's: a value that its column cannot have."""
    return Refusal(message, path="$.selectionSet", code="data-exception")


def bad_count(name: str, path: str) -> Refusal:
    """A refusal of Hasura's: a negative number of rows.

    Args:
        name: The argument.
        path: The field, as in ``log`` or ``flow_run.selectionSet.logs``.
    """
    said = 'expected a non-negative 32-bit integer for type "Int", but found an integer'
    return Refusal(said, path=f"$.selectionSet.{path}.args.{name}", code="validation-failed")


class Relation(msgspec.Struct, frozen=True):
    """Rows of another table that belong to a row.

    Attributes:
        table: Their table.
        here: The row's column.
        there: Their column, which has the same value in it.
    """

    table: str
    here: str = "id"
    there: str = "id"

    @property
    def many(self) -> bool:
        """Whether there may be several."""
        return self.there != "id"

    def of(self, row: Row, tables: Tables) -> Iterable[Row]:
        """Find them."""
        value, others = row[self.here], tables[self.table]
        if not self.many:
            return [others[value]] if value in others else []
        return [other for other in others.values() if other[self.there] == value]


RELATIONS: Mapping[str, Mapping[str, Relation]] = {
    "flow_group": {"flows": Relation("flow", there="flow_group_id")},
    "flow": {
        "project": Relation("project", "project_id"),
        "flow_group": Relation("flow_group", "flow_group_id"),
        "tasks": Relation("task", there="flow_id"),
        "flow_runs": Relation("flow_run", there="flow_id"),
    },
    "task": {
        "flow": Relation("flow", "flow_id"),
        "task_runs": Relation("task_run", there="task_id"),
    },
    "flow_run": {
        "flow": Relation("flow", "flow_id"),
        "states": Relation("flow_run_state", there="flow_run_id"),
        "task_runs": Relation("task_run", there="flow_run_id"),
        "logs": Relation("log", there="flow_run_id"),
    },
    "flow_run_state": {"flow_run": Relation("flow_run", "flow_run_id")},
    "task_run": {
        "flow_run": Relation("flow_run", "flow_run_id"),
        "task": Relation("task", "task_id"),
        "logs": Relation("log", there="task_run_id"),
    },
    "log": {
        "flow_run": Relation("flow_run", "flow_run_id"),
        "task_run": Relation("task_run", "task_run_id"),
    },
}
"""By table and by the name that a query has for them."""


def select(
    rows: Iterable[Row],
    table: str,
    tables: Tables,
    *,
    where: Where | None = None,
    order_by: Order | None = None,
    offset: int | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The rows that a question wants.

    Args:
        rows: What it chooses from.
        table: Their table.
        tables: All tables.
        where: What must be true of a row.
        order_by: By what they are sorted, the most important first.
        offset: How many are left out at the beginning.
        limit: How many there are at the most.

    Raises:
        Refusal: A value in it is none that its column can have.
    """
    wanted = _all_of(_terms(where or {}, table, tables))
    found = _sorted([row for row in rows if wanted(row)], order_by or (), table, tables)
    end = None if limit is None else (offset or 0) + limit
    return found[offset or 0 : end]


# -- where --------------------------------------------------------------------------------------


def _terms(where: Where, table: str, tables: Tables) -> list[_Predicate]:
    return [
        _term(key, operand, table, tables) for key, operand in where.items() if operand is not None
    ]


def _term(key: str, operand: Any, table: str, tables: Tables) -> _Predicate:
    match key:
        case "_and":
            return _all_of([_all_of(_terms(part, table, tables)) for part in operand])
        case "_or":
            return _any_of([_all_of(_terms(part, table, tables)) for part in operand])
        case "_not":
            return _not(_all_of(_terms(operand, table, tables)))
        case _ if relation := RELATIONS.get(table, {}).get(key):
            return _exists(relation, _all_of(_terms(operand, relation.table, tables)), tables)
        case _:
            said = operand.items()
            return _all_of([_comparison(key, *each) for each in said if each[1] is not None])


def _all_of(parts: Sequence[_Predicate]) -> _Predicate:
    def holds(row: Row) -> _Truth:
        truths = [part(row) for part in parts]
        return False if False in truths else None if None in truths else True

    return holds


def _any_of(parts: Sequence[_Predicate]) -> _Predicate:
    def holds(row: Row) -> _Truth:
        truths = [part(row) for part in parts]
        return True if True in truths else None if None in truths else False

    return holds


def _not(part: _Predicate) -> _Predicate:
    def holds(row: Row) -> _Truth:
        truth = part(row)
        return None if truth is None else not truth

    return holds


def _exists(relation: Relation, part: _Predicate, tables: Tables) -> _Predicate:
    return lambda row: any(part(other) is True for other in relation.of(row, tables))


def _comparison(column: str, name: str, operand: Any) -> _Predicate:
    for value in cast("Iterable[Any]", operand if isinstance(operand, list) else [operand]):
        if isinstance(value, Refusal):
            raise value
    if name == "_is_null":
        return lambda row: (row[column] is None) is operand
    if name in {"_in", "_nin"} and not operand:  # nothing is compared with, not even a null
        return lambda _: name == "_nin"
    compare = _COMPARISONS[name]
    return lambda row: None if row[column] is None else compare(row[column], operand)


def _like(value: str, pattern: str, flags: int = 0) -> bool:
    def meaning(found: re.Match[str]) -> str:
        return {"%": ".*", "_": "."}.get(found[0]) or re.escape(found[0][-1])

    expression = re.sub(r"\\.|.", meaning, pattern, flags=re.DOTALL)
    return re.fullmatch(expression, value, flags | re.DOTALL) is not None


def _ilike(value: str, pattern: str) -> bool:
    return _like(value, pattern, re.IGNORECASE)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "_eq": operator.eq,
    "_neq": operator.ne,
    "_gt": operator.gt,
    "_gte": operator.ge,
    "_lt": operator.lt,
    "_lte": operator.le,
    "_in": lambda value, operand: value in operand,
    "_nin": lambda value, operand: value not in operand,
    "_like": _like,
    "_nlike": lambda value, operand: not _like(value, operand),
    "_ilike": _ilike,
    "_nilike": lambda value, operand: not _ilike(value, operand),
}


# -- order_by -----------------------------------------------------------------------------------


def _sorted(rows: list[Row], order_by: Order, table: str, tables: Tables) -> list[Row]:
    """Sort by the least important key first; rows that are equal in a key stay as they are."""
    keys = [key for part in order_by for key in _keys(part, table, tables)]
    for value_of, direction in reversed(keys):
        there = [row for row in rows if value_of(row) is not None]
        there.sort(key=value_of, reverse=direction.startswith("desc"))
        nulls = [row for row in rows if value_of(row) is None]
        first = direction in {"desc", "desc_nulls_first", "asc_nulls_first"}
        rows = nulls + there if first else there + nulls
    return rows


def _keys(
    order: Mapping[str, Any], table: str, tables: Tables
) -> Iterable[tuple[Callable[[Row], Any], str]]:
    for key, direction in order.items():
        relation = RELATIONS.get(table, {}).get(key)
        if direction is None:
            continue
        if relation is None:
            yield operator.itemgetter(key), direction
        else:
            for value_of, inner in _keys(direction, relation.table, tables):
                yield _through(relation, value_of, tables), inner


def _through(
    relation: Relation, value_of: Callable[[Row], Any], tables: Tables
) -> Callable[[Row], Any]:
    def value(row: Row) -> Any:
        return next(map(value_of, relation.of(row, tables)), None)

    return value
