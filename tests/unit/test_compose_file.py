"""What docker-compose.yml and the images promise that can be read from the files; tests/containers runs them."""

from __future__ import annotations

import re
import shlex

import pytest

from telemetryd.settings.limits import DRAIN_TIMEOUT_S
from tests.docs.markdown import ROOT
from tests.support.yaml_files import load_yaml

COMPOSE = load_yaml(ROOT / "docker-compose.yml")
SERVICES = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("*Dockerfile"))


def seconds(text: str) -> int:
    return int(re.fullmatch(r"(\d+)s", text)[1])  # type: ignore[index]


def test_the_key_is_the_daemons_alone() -> None:
    assert [name for name, service in SERVICES.items() if "secrets" in service] == ["daemon"]
    for name, service in SERVICES.items():
        if name != "daemon":
            assert "KEY" not in str(service.get("environment", "")), name
            assert "state" not in str(service.get("volumes", "")), name
    assert list(COMPOSE["secrets"]) == ["wandb_api_key"]


def test_training_has_no_network_and_waits_for_a_healthy_daemon_only_at_its_start() -> None:
    trainer = SERVICES["trainer"]
    assert trainer["network_mode"] == "none"
    assert trainer["depends_on"] == {"daemon": {"condition": "service_healthy", "restart": False}}


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_service_has_a_read_only_root_no_capability_and_words_for_its_end(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert {"restart", "stop_grace_period"} <= service.keys()
    assert "pid" not in service


def test_the_grace_period_is_longer_than_the_drain() -> None:
    for name in ("daemon", "trainer"):
        assert seconds(SERVICES[name]["stop_grace_period"]) > DRAIN_TIMEOUT_S + 15, name


def test_the_daemon_sees_gpus_without_the_right_to_use_them() -> None:
    (daemon,) = load_yaml(ROOT / "docker-compose.gpu.yml")["services"].values()
    (devices,) = daemon["deploy"]["resources"]["reservations"]["devices"]
    assert sorted(devices["capabilities"]) == ["gpu", "utility"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_image_ends_as_a_user_that_is_not_root_with_labels(path: object) -> None:
    text = path.read_text()  # type: ignore[attr-defined]
    last_stage = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (.+)$", last_stage, re.M) == ["${UID}"]
    assert re.search(r"^ARG UID=[1-9]\d{3,}$", last_stage, re.M)
    assert "org.opencontainers.image.title=" in last_stage
    assert "ARG BASE_IMAGE=python:3.11-slim-bookworm\n" in text


def test_the_versions_of_the_images_are_the_packages() -> None:
    import telemetryd

    for path in DOCKERFILES:
        for version in re.findall(r"^ARG VERSION=(.+)$", path.read_text(), re.M):
            assert version == telemetryd.__version__, path.name


def test_the_environment_of_the_standin_names_what_is_there() -> None:
    lines = (ROOT / "deploy" / "docker" / "standin.env").read_text().splitlines()
    given = dict(shlex.split(line)[0].split("=", 1) for line in lines if not line.startswith("#"))
    assert given["WANDB_BASE_URL"] == "http://standin:8080"
    assert len((ROOT / given["WANDB_API_KEY_FILE"]).read_text().strip()) == 40
