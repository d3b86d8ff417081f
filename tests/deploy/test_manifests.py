"""Manifests, units, Dockerfiles and scripts pass the checkers of their kind, and hold what deploy/README.md says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from telemetryd.settings.limits import DRAIN_TIMEOUT_S
from tests.docs.markdown import ROOT
from tests.support.requirements import require
from tests.support.yaml_files import load_all_yaml

pytestmark = pytest.mark.manifests

DEPLOY = ROOT / "deploy"
KUSTOMIZATIONS = sorted(path.parent for path in (DEPLOY / "k8s").glob("*/kustomization.yaml"))
DOCKERFILES = sorted((DEPLOY / "docker").glob("*Dockerfile"))
SCRIPTS = sorted([*DEPLOY.rglob("*.sh"), *DEPLOY.rglob("*.sbatch")])
SYSTEM, USER = DEPLOY / "systemd" / "system", DEPLOY / "systemd" / "user"
DAEMON_UNITS = (SYSTEM / "telemetryd.service", USER / "telemetryd.service")
NODE_UNIT = SYSTEM / "telemetryd-node.service"
UNITS = (*DAEMON_UNITS, NODE_UNIT)
KUBERNETES = ("1.29", "1.33")
"""The first version with sidecars by default, and one of those in use."""


def tool(name: str) -> str:
    """The path of a checker. Skips the calling test where it is not installed."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    require(found, f"{name}, which `make manifests` installs, or the distribution")
    return str(found)


def checked(*command: str | Path, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """What a checker says of what it accepts. Raises AssertionError with what it says otherwise."""
    ran = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout + ran.stderr


@pytest.fixture(params=KUSTOMIZATIONS, ids=lambda path: path.name)
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A kustomization as Kubernetes gets it."""
    path = tmp_path / f"{request.param.name}.yaml"
    path.write_text(checked(tool("kubectl"), "kustomize", request.param))
    return path


def test_every_kustomization_is_valid_in_the_strict_sense(rendered: Path) -> None:
    for version in KUBERNETES:
        said = checked(tool("kubernetes-validate"), "--strict", "-k", version, rendered)
        assert len(re.findall(r"passed for resource", said)) == len(load_all_yaml(rendered))


def pods(path: Path) -> list[dict[str, Any]]:
    """The pod specs in a file of manifests."""
    return [document["spec"]["template"]["spec"] for document in load_all_yaml(path) if "template" in document["spec"]]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_container_is_confined_has_resources_and_no_more_rights_than_it_needs(rendered: Path) -> None:
    for pod in pods(rendered):
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
            assert "memory" in container["resources"]["limits"]
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "nvidia.com/gpu" not in str(container["resources"]), "a daemon claims no GPU"


def is_daemon(container: dict[str, Any]) -> bool:
    return container["image"].startswith("telemetryd:") and "livenessProbe" in container


def test_the_key_is_mounted_into_the_daemon_alone(rendered: Path) -> None:
    for pod in pods(rendered):
        with_key = [one for one in containers(pod) if any(m["name"] == "key" and "wandb" in m["mountPath"]
                                                          for m in one.get("volumeMounts", []))]  # fmt: skip
        assert all(map(is_daemon, with_key))
        for container in containers(pod):
            names = {entry["name"] for entry in container.get("env", [])}
            assert "WANDB_API_KEY" not in names
            assert ("WANDB_API_KEY_FILE" in names) == is_daemon(container)


def test_the_grace_period_is_longer_than_the_drain_and_probes_are_there(rendered: Path) -> None:
    daemons = 0
    for pod in pods(rendered):
        waits = sum(is_daemon(one) or "run" in one.get("command", []) for one in containers(pod))
        assert pod["terminationGracePeriodSeconds"] >= waits * DRAIN_TIMEOUT_S + 20
        for container in filter(is_daemon, containers(pod)):
            daemons += 1
            for probe in ("startupProbe", "livenessProbe"):
                assert container[probe]["exec"]["command"][:2] == ["telemetryd", "status"]
                assert container[probe]["timeoutSeconds"] >= 10, "a daemon that is stopped is given its five seconds"
    assert daemons == 1


def test_the_sidecar_is_native_with_its_socket_in_memory_and_its_spool_on_disk() -> None:
    (pod,) = pods(DEPLOY / "k8s" / "sidecar" / "job.yaml")
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["socket"]["emptyDir"]["medium"] == "Memory"
    assert "medium" not in volumes["spool"]["emptyDir"]
    assert pod["shareProcessNamespace"] is False


def test_every_node_of_the_indexed_job_is_sampled_by_a_native_sidecar_without_wandbs_key() -> None:
    (pod,) = pods(DEPLOY / "k8s" / "indexed" / "job.yaml")
    (sampler,) = pod["initContainers"]
    (training,) = pod["containers"]
    assert sampler["command"] == ["telemetryd", "node"]
    assert sampler["restartPolicy"] == "Always", "else it would have to end before training begins"
    named = [{one["name"]: one.get("value") for one in container["env"]} for container in (sampler, training)]
    for name in ("TELEMETRYD_ENDPOINT", "TELEMETRYD_KEY_FILE"):
        assert named[0][name] == named[1][name]
    assert pod["shareProcessNamespace"] is True
    assert "wandb" not in str(pod["volumes"]), "or training could read the key of a process beside it"
    assert {"name": "spool", "mountPath": "/var/spool/telemetryd"} in sampler["volumeMounts"]


@pytest.mark.parametrize("name", ["daemonset", "indexed"])
def test_with_the_http_port_open_the_kubelet_asks_healthz(name: str, tmp_path: Path) -> None:
    # kustomize takes no absolute paths, and nothing beyond what the kustomization names.
    shutil.copytree(DEPLOY / "k8s", tmp_path / "k8s")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(f"resources: [../k8s/{name}]\ncomponents: [../k8s/components/http]\n")
    path = tmp_path / "mine.yaml"
    path.write_text(checked(tool("kubectl"), "kustomize", mine))
    for version in KUBERNETES:
        checked(tool("kubernetes-validate"), "--strict", "-k", version, path)
    (daemon,) = [container for pod in pods(path) for container in containers(pod) if is_daemon(container)]
    (port,) = [port["containerPort"] for port in daemon["ports"] if port["name"] == "http"]
    assert daemon["livenessProbe"].keys() & {"exec", "httpGet"} == {"httpGet"}
    assert daemon["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert daemon["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert {"name": "TELEMETRYD_HTTP", "value": f"0.0.0.0:{port}"} in daemon["env"]
    assert daemon["startupProbe"]["exec"]


def test_every_way_is_from_nothing_to_a_run_in_under_five_commands() -> None:
    text = (DEPLOY / "README.md").read_text()
    ways = [re.findall(r"^\$ (.+)$", block, re.M) for block in re.findall(r"```console\n(.*?)```", text, re.S)]
    assert len(ways) >= 6
    assert max(map(len, ways)) < 5


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    assert checked(tool("hadolint"), path).strip() == ""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    assert checked(tool("shellcheck"), "-x", "-P", path.parent, path).strip() == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_systemd_takes_the_units(unit: Path, short_path: Path) -> None:
    path = short_path / unit.name  # as it is installed, but with a program that is there
    path.write_text(re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", unit.read_text(), flags=re.M))
    kind = unit.parent.name
    said = checked(tool("systemd-analyze"), f"--{kind}", "verify", path, env={"XDG_RUNTIME_DIR": str(short_path)})
    assert unit.name not in said, said


@pytest.mark.parametrize("path", [SYSTEM / "telemetryd.service", NODE_UNIT], ids=lambda path: path.stem)
def test_the_exposure_of_a_system_unit_is_no_more_than_the_document_says(path: Path) -> None:
    stated = re.search(r"`systemd-analyze security` gives it (\d+\.\d)", (DEPLOY / "README.md").read_text())
    assert stated
    assert "CapabilityBoundingSet=\n" in path.read_text()
    said = checked(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", path)
    found = re.search(rf"exposure level for {path.name}: (\d+\.\d)", said)
    assert found
    assert float(found[1]) <= float(stated[1])


def settings_of(unit: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))


def test_the_nodes_unit_starts_the_sampler_with_a_clients_key_and_none_of_wandbs() -> None:
    text, settings = NODE_UNIT.read_text(), settings_of(NODE_UNIT)
    assert settings["ExecStart"].endswith("/telemetryd node")
    assert settings["EnvironmentFile"] == "/etc/telemetryd/node.env"
    assert settings["LoadCredential"] == "node-key:/etc/telemetryd/node.key"
    assert "Environment=TELEMETRYD_KEY_FILE=%d/node-key\n" in text
    assert "WANDB_API_KEY" not in text
    assert settings["Restart"] == "always"
    assert settings["NoNewPrivileges"] == "yes"


@pytest.mark.parametrize("unit", DAEMON_UNITS, ids=lambda path: path.parent.name)
def test_units_notify_are_watched_and_drain_before_they_are_killed(unit: Path) -> None:
    settings = settings_of(unit)
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) >= 10
    assert int(settings["TimeoutStopSec"]) > DRAIN_TIMEOUT_S + 20
    assert {"RuntimeDirectory", "ExecStart", "Restart"} <= settings.keys()
    assert settings["NoNewPrivileges"] == "yes"
    if unit.parent == SYSTEM:
        assert settings["LoadCredential"].startswith("wandb-api-key:")
        assert {"StateDirectory", "ProtectSystem", "SystemCallFilter"} <= settings.keys()
