"""Which rows a query selects, as in Hasura over PostgreSQL.

The arguments of a list are ``where``, ``order_by``, ``distinct_on``, ``offset`` and ``limit``. As
in SQL, a comparison with a null in a row is neither true nor false, and a row is selected if its
whole condition is true. A null operand drops the comparison, as up to Hasura 1.3. Does not belong
here: GraphQL, and what a table means, except for `RELATIONS`, which says how tables are related.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack, cast

import msgspec

from rxflow.testing._prefect1.field_errors import FieldError, mismatched_order
from rxflow.testing._rows import Row

Tables = Mapping[str, Mapping[str, Row]]
"""Tables by their names: rows by their ids, in the order in which they were stored."""

Where = Mapping[str, Any]
Order = Sequence[Mapping[str, Any]]


class Selection(TypedDict, total=False):
    """The arguments of a list of rows; null is the same as none.

    Attributes:
        distinct_on: The columns of which each combination of values is selected once, by its first
            row in the order.
        where: The condition on a row.
        order_by: The sort keys, the most significant first.
        offset: How many rows are skipped at the beginning.
        limit: How many rows are returned at most.
    """

    distinct_on: Sequence[str] | None
    where: Where | None
    order_by: Order | None
    offset: int | None
    limit: int | None


_Truth = bool | None
"""SQL's three-valued logic; None is unknown."""

_Predicate = Callable[[Row], _Truth]


class Relation(msgspec.Struct, frozen=True):
    """How the rows of another table are related to a row: by equal values in two columns.

    Attributes:
        table: The other table.
        here: The column of the row.
        there: The column of the other table.
    """

    table: str
    here: str = "id"
    there: str = "id"

    @property
    def many(self) -> bool:
        """Whether several rows may be related to one."""
        return self.there != "id"

    def of(self, row: Row, tables: Tables) -> Iterable[Row]:
        """Find the rows that are related to a row."""
        value, others = row[self.here], tables[self.table]
        if not self.many:
            return [others[value]] if value in others else []
        return [other for other in others.values() if other[self.there] == value]


RELATIONS: Mapping[str, Mapping[str, Relation]] = {
    "project": {"flows": Relation("flow", there="project_id")},
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
        "states": Relation("task_run_state", there="task_run_id"),
        "logs": Relation("log", there="task_run_id"),
    },
    "task_run_state": {"task_run": Relation("task_run", "task_run_id")},
    "log": {
        "flow_run": Relation("flow_run", "flow_run_id"),
        "task_run": Relation("task_run", "task_run_id"),
    },
}
"""Relations by their table and by their name in a query."""


def select(
    rows: Iterable[Row], table: str, tables: Tables, **selection: Unpack[Selection]
) -> list[Row]:
    """Select rows as a query says.

    Args:
        rows: The rows to select from.
        table: Their table.
        tables: All tables.
        selection: The arguments of the list.

    Raises:
        FieldError: The condition has a value that its column cannot have, or the order does not
            begin with the columns of ``distinct_on``.
    """
    holds = _all_of(_terms(selection.get("where") or {}, table, tables))
    found = [row for row in rows if holds(row)]
    order_by = selection.get("order_by") or ()
    found = _sorted(found, order_by, table, tables)
    if columns := selection.get("distinct_on"):
        found = _distinct(found, columns, order_by)
    offset, limit = selection.get("offset") or 0, selection.get("limit")
    return found[offset : None if limit is None else offset + limit]


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
            return _all_of(
                [_comparison(key, *each) for each in operand.items() if each[1] is not None]
            )


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
        if isinstance(value, FieldError):
            raise value
    if name == "_is_null":
        return lambda row: (row[column] is None) is operand
    if name in {"_in", "_nin"} and not operand:  # no comparison at all, so a null is not unknown
        return lambda _: name == "_nin"
    compare = _COMPARISONS[name]
    return lambda row: None if row[column] is None else compare(row[column], operand)


def _like(value: str, pattern: str, flags: int = 0) -> bool:
    def translate(found: re.Match[str]) -> str:
        return {"%": ".*", "_": "."}.get(found[0]) or re.escape(found[0][-1])

    expression = re.sub(r"\\.|.", translate, pattern, flags=re.DOTALL)
    return re.fullmatch(expression, value, flags | re.DOTALL) is not None


def _ilike(value: str, pattern: str) -> bool:
    return _like(value, pattern, re.IGNORECASE)


def _contains(value: Any, part: Any) -> bool:
    """Whether a JSON value contains another as PostgreSQL's ``@>`` says; arrays are sets."""
    is_bare = not isinstance(part, list | dict)  # which an array contains as well
    return _includes(value, part) or (is_bare and _includes(value, [part]))


def _includes(value: Any, part: Any) -> bool:
    match value, part:
        case dict(), dict():
            whole = cast("Row", value)
            fields = cast("Row", part).items()
            return all(key in whole and _includes(whole[key], each) for key, each in fields)
        case [*items], [*parts]:
            return all(any(_includes(item, each) for item in items) for each in parts)
        case _:
            return bool(value == part)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "_eq": operator.eq,
    "_neq": operator.ne,
    "_gt": operator.gt,
    "_gte": operator.ge,
    "_lt": operator.lt,
    "_lte": operator.le,
    "_contains": _contains,
    "_in": lambda value, operand: value in operand,
    "_nin": lambda value, operand: value not in operand,
    "_like": _like,
    "_nlike": lambda value, operand: not _like(value, operand),
    "_ilike": _ilike,
    "_nilike": lambda value, operand: not _ilike(value, operand),
}


# -- order_by -----------------------------------------------------------------------------------


def _sorted(rows: list[Row], order_by: Order, table: str, tables: Tables) -> list[Row]:
    """Sort stably, by the least significant key first."""
    keys = [key for part in order_by for key in _keys(part, table, tables)]
    for value_of, direction in reversed(keys):
        not_null = [row for row in rows if value_of(row) is not None]
        not_null.sort(key=value_of, reverse=direction.startswith("desc"))
        nulls = [row for row in rows if value_of(row) is None]
        nulls_first = direction in {"desc", "desc_nulls_first", "asc_nulls_first"}
        rows = nulls + not_null if nulls_first else not_null + nulls
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
                yield _related_value(relation, value_of, tables), inner


def _distinct(rows: Iterable[Row], columns: Sequence[str], order_by: Order) -> list[Row]:
    """Keep the first row of each combination of values; nulls are equal to each other."""
    ordered = [key for part in order_by for key, direction in part.items() if direction is not None]
    if ordered and set(ordered[: len(columns)]) != set(columns):
        raise mismatched_order()
    first: dict[bytes, Row] = {}
    for row in rows:
        values = msgspec.json.encode([row[column] for column in columns])  # jsonb has no hash
        first.setdefault(values, row)
    return [*first.values()]


def _related_value(
    relation: Relation, value_of: Callable[[Row], Any], tables: Tables
) -> Callable[[Row], Any]:
    def value(row: Row) -> Any:
        return next(map(value_of, relation.of(row, tables)), None)

    return value
