"""Names of runs, workspaces and leases in the subjects and keys of a broker.

A wildcard or a separator in a name would reach into another workspace, so a name is checked before
it becomes a part of a subject or a key, and again when it is read from one.
"""

import re
from typing import Final

from rxflow._models.arguments import canonical_id
from rxflow.errors import ConfigurationError, InvalidRunId

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def workspace_name(workspace: object) -> str:
    """Return the name of a workspace.

    Raises:
        ConfigurationError: It is not 1 to 64 letters of ASCII, digits, ``-`` or ``_``.
    """
    return _token("workspace", workspace)


def lease_name(name: object) -> str:
    """Return the name of a lease; errors as of `workspace_name`."""
    return _token("lease", name)


def group_name(name: object) -> str:
    """Return the name of a group; errors as of `workspace_name`."""
    return _token("group", name)


def run_name(run_id: object) -> str:
    """Return the id of a run as it stands in subjects and keys: a UUID in lower case.

    Raises:
        InvalidRunId: It is not a UUID.
    """
    return canonical_id("flow_run_id", run_id)


def run_of(subject: str, separator: str) -> str | None:
    """Return the run whose id is the last part of a subject or a key; None if it is not an id.

    Args:
        subject: The subject or key.
        separator: What stands between its parts.
    """
    token = subject.rpartition(separator)[2]
    try:
        return token if run_name(token) == token else None
    except InvalidRunId:
        return None


def _token(kind: str, name: object) -> str:
    if isinstance(name, str) and _TOKEN.fullmatch(name):
        return name
    raise ConfigurationError(
        f"{name!r} cannot be the name of a {kind}: pass 1 to 64 letters (a to z), digits, - or _, "
        "such as 'team-a'"
    )
