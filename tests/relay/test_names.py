"""Names in subjects and keys: what is one, and what would reach beyond it."""

import pytest

from rxflow.errors import ConfigurationError, InvalidRunId
from rxflow.relay._names import lease_name, run_name, run_of, workspace_name

RUN = "c4f0a6f2-6f6e-4a0b-9a5e-2f1f2a3b4c5d"


@pytest.mark.parametrize("name", ["default", "a", "Team_1-x", "9" * 64])
def test_a_name_of_letters_digits_and_dashes(name: str) -> None:
    """A workspace and a lease have the same kind of name."""
    assert workspace_name(name) == lease_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a.b", "*", ">", "a b", "a:b", "{a}", "a\n", "\u00e9", "x" * 65, None, 7], ids=repr
)
def test_other_names_are_refused(name: object) -> None:
    """A wildcard, a separator or another character is refused, with an example."""
    with pytest.raises(ConfigurationError, match=r"name of a workspace: .*'team-a'"):
        workspace_name(name)
    with pytest.raises(ConfigurationError, match="name of a lease"):
        lease_name(name)


def test_a_run_has_one_name() -> None:
    """However a run's id is written, its name in subjects is the same."""
    assert run_name(RUN.upper()) == run_name(RUN.replace("-", "")) == RUN
    with pytest.raises(InvalidRunId):
        run_name("*")


@pytest.mark.parametrize(
    ("subject", "run"),
    [
        (f"rxflow.w.run.{RUN}", RUN),
        (RUN, RUN),
        (f"rxflow.w.run.{RUN.upper()}", None),
        (f"rxflow.w.run.{RUN.replace('-', '')}", None),
        ("rxflow.w.run.*", None),
        ("", None),
    ],
)
def test_the_run_of_a_subject(subject: str, run: str | None) -> None:
    """The last part of a subject is a run's id in its one form, or of something else."""
    assert run_of(subject, ".") == run
