"""Errors of a single field of a GraphQL query, as the services behind the gateway report them.

Belongs here: the exception and the kinds of it. Does not belong here: GraphQL itself, and the
response that reports an error, which is in `graphql_responses.py`.
"""

from typing import Any


class FieldError(Exception):
    """A field of a query cannot be resolved.

    Attributes:
        message: The error's text.
        extensions: The error's ``extensions``.
    """

    def __init__(self, message: str, **extensions: Any) -> None:
        """Make an error whose extensions also repeat its text, as the gateway does."""
        super().__init__(message)
        self.message = message
        self.extensions: dict[str, Any] = {**extensions, "exception": {"message": message}}


def invalid_value(message: str) -> FieldError:
    """Make PostgreSQL's error about a value that its column cannot have."""
    return FieldError(message, path="$.selectionSet", code="data-exception")


def negative_count(argument: str, path: str) -> FieldError:
    """Make Hasura's error about a negative number of rows.

    Args:
        argument: The argument's name.
        path: The field, as in ``log`` or ``flow_run.selectionSet.logs``.
    """
    message = 'expected a non-negative 32-bit integer for type "Int", but found an integer'
    return FieldError(
        message, path=f"$.selectionSet.{path}.args.{argument}", code="validation-failed"
    )


def mismatched_order() -> FieldError:
    """Make the error about rows that are not ordered by what they are to differ in."""
    message = '"distinct_on" columns must match initial "order_by" columns'
    return FieldError(message, path="$.selectionSet", code="validation-failed")


def service_error(message: str) -> FieldError:
    """Make an error of the service that runs the mutations."""
    return FieldError(message, code="INTERNAL_SERVER_ERROR")
