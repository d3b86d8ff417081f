"""Prometheus' text formats, through prometheus_client: the one file that imports it, at the first scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from telemetryd.sampling.metric import COUNTER
from telemetryd.web.families import Family
from telemetryd.web.series import Point


def render(points: Iterable[Point], accept: str) -> tuple[bytes, str]:
    """(the text, its Content-Type), in the format that the client's Accept header asks for."""
    from prometheus_client.exposition import choose_encoder

    encoder, content_type = choose_encoder(accept)
    return encoder(_Collected(points)), content_type


class _Collected:
    """What an encoder asks of a registry."""

    def __init__(self, points: Iterable[Point]) -> None:
        self._families: dict[str, tuple[Family, list[tuple[tuple[str, ...], float]]]] = {}
        for family, labels, value in points:
            self._families.setdefault(family.name, (family, []))[1].append((labels, value))

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for family, points in self._families.values():
            kind = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
            made = kind(family.name, family.help, labels=family.labels, unit=family.unit)
            for labels, value in points:
                made.add_metric(labels, value)
            yield made
