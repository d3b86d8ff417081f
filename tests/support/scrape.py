"""A look at a daemon's HTTP port as Prometheus, a probe and a person take it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import parser as classic
from prometheus_client.openmetrics import parser as openmetrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def get(url: str, accept: str = "*/*", timeout_s: float = 20.0) -> tuple[int, str, str]:
    """(status, content type, body)."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


@dataclass
class Scraped:
    """A parsed /metrics. `families` by the exported name of their series."""

    text: str
    values: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    helps: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float:
        """The one series of a family that has these labels, among others."""
        found = list(self.matching(name, **labels))
        assert len(found) == 1, f"{len(found)} series of {name}{labels}\n{self.text}"
        return found[0]

    def matching(self, name: str, **labels: str) -> Iterator[float]:
        """Every series of a family that has these labels."""
        for (family, has), value in self.values.items():
            if family == name and labels.items() <= dict(has).items():
                yield value

    def names(self) -> set[str]:
        return {name for name, _ in self.values}


def scrape(url: str, accept: str = "*/*") -> Scraped:
    """/metrics through the parser of prometheus_client; what that does not take is an error."""
    status, content_type, text = get(f"{url}/metrics", accept)
    assert status == 200, text
    parse = openmetrics if content_type.startswith("application/openmetrics-text") else classic
    scraped = Scraped(text)
    for family in parse.text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in scraped.values, f"twice: {key}"
            scraped.values[key] = sample.value
            scraped.kinds[sample.name] = family.type
            scraped.helps[sample.name] = family.documentation
            scraped.units[sample.name] = family.unit
    return scraped
