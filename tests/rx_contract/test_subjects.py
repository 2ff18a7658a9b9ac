"""The rules of this folder are checked on every operator and every sink."""

from rx_subjects import OPERATORS, SINKS

from rxflow import operators, sinks


def test_every_operator_and_every_sink_is_a_subject() -> None:
    """No public operator or sink is missing from the subjects."""
    assert set(OPERATORS) == set(operators.__all__)
    assert set(SINKS) == set(sinks.__all__)
