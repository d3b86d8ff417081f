"""A step of a run, as `init(resume_from="RUN?_step=N")` names it. Read as wandb's RunMoment.from_uri reads it. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib import parse


class RunMoment(NamedTuple):
    """The run's id, and the last step that is kept."""

    run: str
    step: int


def parse_moment(text: str) -> RunMoment:
    """Raises ValueError for a text that is none, as wandb; also for a step that no row can have."""
    wrong = ValueError(
        f"Could not parse passed run moment string '{text}', expected format '<run>?<metric>=<numeric_value>'. "
        "Currently, only the metric '_step' is supported. Example: 'ans3bsax?_step=123'."
    )
    try:
        parsed = parse.urlparse("runmoment://" + text)
    except ValueError:
        raise wrong from None
    query = parse.parse_qs(parsed.query)
    if not parsed.netloc or parsed.path or parsed.params or parsed.fragment or list(query) != ["_step"]:
        raise wrong
    value = query["_step"][0]
    try:
        number = int(value) if value.isdigit() else float(value)
    except ValueError:
        raise wrong from None
    if not 0 <= number < 1 << 62 or number != int(number):
        raise ValueError(f"resume_from={text!r}: _step must be the number of a row, 0 or more, and whole")
    return RunMoment(parsed.netloc, int(number))
