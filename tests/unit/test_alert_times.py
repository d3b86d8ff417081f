"""W&B judges alerts by when they arrive; the wait it is told makes that the training's time."""

from __future__ import annotations

import pytest

from client.protocol.records import Alert
from telemetryd.runs.alerts import AT_ONCE_MS, AlertTimes

S = 1_000_000_000
WAIT_MS = 60_000


def counted(times: list[tuple[float, float]]) -> list[bool]:
    """Whether W&B sends each alert, given (raised, arrived) in seconds: none within the wait that it is told."""
    alerts, sent_s, result = AlertTimes(), None, []
    for raised_s, arrived_s in times:
        alert = Alert("t", "", "INFO", WAIT_MS, int(raised_s * S))
        wait_ms = alerts.wait_ms(alert, int(arrived_s * S))
        sends = sent_s is None or (arrived_s - sent_s) * 1000 >= wait_ms
        sent_s = arrived_s if sends else sent_s
        result.append(sends)
    return result


@pytest.mark.parametrize(
    ("times", "sent"),
    [
        ([(0, 0), (10, 10), (59, 59), (61, 61)], [True, False, False, True]),
        ([(0, 600), (120, 600.1), (240, 600.2)], [True, True, True]),
        ([(0, 0), (10, 500)], [True, False]),
        ([(0, 600), (10, 600.1), (70, 600.2)], [True, False, True]),
        ([(0, 0), (30, 100), (61, 101)], [True, False, True]),
    ],
    ids=["on time", "late but far apart", "late and too soon", "all late", "one late"],
)
def test_alerts_count_by_the_trainings_time(times: list[tuple[float, float]], sent: list[bool]) -> None:
    assert counted(times) == sent


def test_on_time_the_wait_is_the_one_that_was_asked_for() -> None:
    alerts = AlertTimes()
    for second in (0, 10, 70):
        assert alerts.wait_ms(Alert("t", "", "INFO", WAIT_MS, second * S), second * S) == WAIT_MS
    assert alerts.wait_ms(Alert("other", "", "INFO", WAIT_MS, 71 * S), 71 * S) == WAIT_MS
    assert AT_ONCE_MS > 0, "wandb takes 0 for a minute"
