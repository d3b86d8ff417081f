"""Dashboard and alert rules ask for metrics and labels that there are, in queries that Prometheus takes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telemetryd.web import families
from telemetryd.web.reference import renewed
from tests.docs.markdown import ROOT
from tests.support.requirements import require

RULES = ROOT / "deploy" / "prometheus" / "telemetryd.rules.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "telemetryd.json").read_text(encoding="utf-8"))
LABELS = {family.name: set(family.labels) for family in families.every()} | {"up": set()}
TARGET = {"job", "instance"}
"""Labels that Prometheus itself puts on every series of a target."""
FUNCTIONS = {"rate", "increase", "sum", "max", "vector"}
WORDS = {"by", "or", "and", "unless", "offset", "on", "ignoring", "without"}
DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
TOKEN = re.compile(
    rf'(?P<string>"(?:\\.|[^"\\])*")|(?P<duration>{DURATION})|(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-zA-Z_:][\w:]*)'
    r"|(?P<symbol>=~|!~|!=|==|>=|<=|[-+*/<>=(){}\[\],])|(?P<space>\s+)"
)
Token = tuple[str, str]


def tokens(query: str) -> list[Token]:
    found: list[Token] = []
    position = 0
    while position < len(query):
        match = TOKEN.match(query, position)
        assert match, f"no PromQL at {query[position:]!r}"
        position = match.end()
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match.group()))
    return found


class Query:
    """What a query asks for: selectors as (metric, labels), and the labels that it groups by."""

    def __init__(self, text: str) -> None:
        self.selectors: list[tuple[str, set[str]]] = []
        self.grouped: set[str] = set()
        self.functions: set[str] = set()
        left = tokens(text)
        while left:
            kind, word = left.pop(0)
            if kind != "name":
                continue
            following = left[0][1] if left else ""
            if word in ("by", "on", "without", "ignoring"):
                self.grouped |= set(self._inside(left, "(", ")"))
            elif word in WORDS:
                continue
            elif following == "(" or (following == "by"):
                self.functions.add(word)
            else:
                matched = self._inside(left, "{", "}") if following == "{" else []
                self.selectors.append((word, set(matched)))

    @staticmethod
    def _inside(left: list[Token], opening: str, closing: str) -> Iterator[str]:
        assert left.pop(0)[1] == opening
        while (token := left.pop(0))[1] != closing:
            if token[0] == "name":
                yield token[1]


def rules() -> dict[str, str]:
    """The alerts' queries by name. The file is YAML of a plain form, read here without a library."""
    found = {}
    for part in RULES.read_text(encoding="utf-8").split("- alert: ")[1:]:
        name, _, rest = part.partition("\n")
        expression = re.search(r"expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", rest)
        assert expression, name
        found[name] = re.sub(r"\s+", " ", expression[1] or expression[2]).strip()
    return found


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target


def dashboard() -> dict[str, str]:
    """The panels' queries, with Grafana's variables put in as it does."""
    found = {f"{title} {target['refId']}": target["expr"] for title, target in panels()}
    return {title: re.sub(r"\$\w+", ".*", text.replace("$__rate_interval", "1m")) for title, text in found.items()}


QUERIES = {**rules(), **dashboard()}


def test_queries_ask_for_what_is_exported() -> None:
    assert len(rules()) == RULES.read_text().count("- alert:") > 20
    for name, text in QUERIES.items():
        query = Query(text)
        assert query.selectors, f"{name}: {text}"
        assert query.functions <= FUNCTIONS, name
        known: set[str] = set(TARGET)
        for metric, labels in query.selectors:
            assert metric in LABELS, f"{name}: {metric} is not exported"
            known |= LABELS[metric]
            assert labels <= LABELS[metric] | TARGET, f"{name}: {metric} has no label {labels}"
        assert query.grouped <= known, name


def test_the_reader_of_queries_finds_names_and_labels() -> None:
    query = Query('sum by (run, code) (rate(a_total{x="b{y}", z=~"q"}[5m])) or vector(0) unless c offset 10m')
    assert query.selectors == [("a_total", {"x", "z"}), ("c", set())]
    assert (query.grouped, query.functions) == ({"run", "code"}, {"sum", "rate", "vector"})


def test_only_counters_have_rates() -> None:
    for name, text in QUERIES.items():
        for metric in re.findall(r"(?:rate|increase)\((\w+)", text):
            assert metric.endswith("_total"), name


def test_legends_and_texts_name_labels_that_the_series_have() -> None:
    for title, target in panels():
        query = Query(re.sub(r"\$\w+", "1m", target["expr"]))
        labels = query.grouped or set.union(*(LABELS[metric] for metric, _ in query.selectors))
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert used <= labels | TARGET, title
    for part in RULES.read_text(encoding="utf-8").split("- alert: ")[1:]:
        name = part.partition("\n")[0]
        labels = set.union(*(LABELS[metric] for metric, _ in Query(rules()[name]).selectors))
        assert set(re.findall(r"\$labels\.(\w+)", part)) <= labels | TARGET, name


def test_variables_of_the_dashboard_ask_for_what_is_exported() -> None:
    asked = [item["definition"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
    for definition in asked:
        metric, label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", definition).groups()  # type: ignore[union-attr]
        assert label in LABELS[metric] | TARGET
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_prometheus_takes_rules_and_queries(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    require(promtool, "promtool (Debian: prometheus) checks rules and queries")
    # A rule's name is a metric's; its query is what is checked.
    queries = [f"  - record: q:q{number}\n    expr: {json.dumps(text)}" for number, text in enumerate(QUERIES.values())]
    made = tmp_path / "queries.yml"
    made.write_text("groups:\n- name: g\n  rules:\n" + "\n".join(queries) + "\n")
    for path in (RULES, made):
        done = subprocess.run([str(promtool), "check", "rules", str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_metrics_is_as_the_families_are() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert renewed(text) == text, "run: python -m telemetryd.web.reference docs/operations.md"
