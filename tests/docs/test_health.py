"""docs/health.md has every rule as the code has it."""

from __future__ import annotations

import re
from pathlib import Path

from telemetryd.settings import rules_reference
from telemetryd.settings.rules import RULES, parse_rules
from telemetryd.settings.values import parse_duration
from telemetryd.supervision import machine_rules, post_mortem, stalls
from tests.docs.markdown import ROOT
from tests.support.toml import load_toml

TEXT = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")


def test_the_table_is_as_the_rules_are() -> None:
    assert rules_reference.renewed(TEXT) == TEXT, "run: python -m telemetryd.settings.rules_reference docs/health.md"
    assert set(re.findall(r"^\| `(\w+)` \|", rules_reference.table(), re.M)) == {rule.name for rule in RULES}


def test_the_example_of_a_config_file_is_one(tmp_path: Path) -> None:
    example = TEXT.partition("```toml\n")[2].partition("```")[0]
    path = tmp_path / "config.toml"
    path.write_text(example)
    given = load_toml(path)
    assert parse_duration(1e9)(given["health_alert_wait_s"]) == 3600
    assert "xid=off" in parse_rules(given["health"])


def test_folders_and_files_are_where_the_document_says() -> None:
    assert f"`{post_mortem.FOLDER}/" in TEXT
    assert f"`{stalls.FOLDER}/" in TEXT
    assert set(machine_rules.RULE_OF_EVENT.values()) <= {rule.name for rule in RULES}
