"""docs/sampling.md has every metric, event and XID as the code has them."""

from __future__ import annotations

import re

from telemetryd.sampling import gpu_events, reference
from tests.docs.markdown import ROOT

TEXT = (ROOT / "docs" / "sampling.md").read_text(encoding="utf-8")


def test_the_tables_are_as_the_catalogue_has_them() -> None:
    assert reference.renewed(TEXT) == TEXT, "run: python -m telemetryd.sampling.reference docs/sampling.md"


def test_every_kind_of_event_is_explained() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "telemetryd" / "sampling").glob("*.py"))
    told = set(re.findall(r'Event\(time\.time_ns\(\), "(\w+)"', re.sub(r"Event\(\s+", "Event(", sources)))
    told |= {kind for kind, _, _, _ in gpu_events._KINDS.values()}
    table = TEXT.partition("| kind | what happened |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == told
