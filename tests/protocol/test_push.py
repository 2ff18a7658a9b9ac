"""`PushRetry`: when a connection for announcements is opened again."""

from random import Random

from rxflow._protocol.push import PushRetry


def test_attempts_that_fail_are_spread() -> None:
    """Each delay is up to twice the one before, from a second to five minutes."""
    retry = PushRetry(Random(0))
    delays = [retry.next_delay(0.0) for _ in range(14)]
    bounds = [min(300.0, 2.0**number) for number in range(14)]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))


def test_no_attempt_is_later_than_five_minutes() -> None:
    """The longest of many delays is close below five minutes."""
    retry = PushRetry(Random(0))
    assert 299.5 < max(retry.next_delay(0.0) for _ in range(5000)) <= 300


def test_a_connection_that_lasted_is_opened_again_soon() -> None:
    """After a minute the next attempt is the first again; one that broke at once counts on."""
    retry = PushRetry(Random(0))
    for _ in range(10):
        retry.next_delay(0.0)
    assert retry.next_delay(5.0) > 100
    assert retry.next_delay(60.0) <= 1
    assert 1 <= retry.next_delay(0.0) <= 2
