"""The command line: what it parses, what it says, and that it can be asked with the base installation alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import telemetryd
from telemetryd.cli import exit_codes, extras, main
from telemetryd.errors import MissingExtraError
from telemetryd.settings.fields import FIELDS
from tests.support.base_install import with_the_base_alone

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"

COMMANDS = ("run", "serve", "status", "doctor")


def telemetryd_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "telemetryd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_version_is_the_distributions() -> None:
    told = telemetryd_command("--version")
    assert (told.returncode, told.stdout.strip()) == (0, f"telemetryd {telemetryd.__version__}")


def test_the_module_has_no_other_names_made_up() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'versoin'"):
        _ = telemetryd.versoin


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), *((command, "--help") for command in COMMANDS)])
def test_help_and_version_need_the_base_installation_alone(arguments: tuple[str, ...]) -> None:
    told = with_the_base_alone(*arguments)
    assert told.returncode == 0, told.stderr
    assert "telemetryd" in told.stdout


@pytest.mark.parametrize("arguments", [("serve",), ("run", "--", "true"), ("status",)])
def test_a_daemon_command_without_the_extra_says_which_pip_install_mends_it(arguments: tuple[str, ...]) -> None:
    told = with_the_base_alone(*arguments)
    assert told.returncode == exit_codes.MISSING_EXTRA
    assert f"`telemetryd {arguments[0]}` needs wandb, psutil, nvidia-ml-py, rich, prometheus-client" in told.stderr
    assert "pip install 'telemetryd[daemon]'" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("arguments", "code"), [(("doctor", "--json"), 0), (("doctor",), 0), (("status", "--json"), 3)]
)
def test_a_training_container_with_the_base_alone_can_be_looked_at(arguments: tuple[str, ...], code: int) -> None:
    told = with_the_base_alone(*arguments)
    assert (told.returncode, told.stderr) == (code, "")


def test_the_extra_is_named_as_the_packaging_names_it() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    daemon = text.partition("daemon = [")[2].partition("]\n")[0]
    assert all(f'"{distribution}' in daemon for distribution in extras.DAEMON_EXTRA.values())


def test_with_the_extra_installed_nothing_is_said() -> None:
    assert extras.missing() == []
    extras.require_daemon("serve")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.DAEMON_EXTRA, "no_such_module", "no-such-distribution")
    with pytest.raises(MissingExtraError, match=r"`telemetryd serve` needs no-such-distribution,"):
        extras.require_daemon("serve")


def test_what_follows_the_dashes_is_the_command_untouched() -> None:
    parsed = main.parse(["run", "--drain-timeout", "5", "--", "python", "train.py", "--", "--late", "drop", "-h"])
    assert parsed.command_line == ["python", "train.py", "--", "--late", "drop", "-h"]
    assert parsed.drain_timeout_s == "5"
    assert parsed.late is None


def test_the_dashes_may_be_left_out() -> None:
    assert main.parse(["run", "--late", "drop", "python", "x.py", "--late", "keep"]).command_line == [
        "python", "x.py", "--late", "keep",
    ]  # fmt: skip
    assert main.parse(["run", "make", "--", "all"]).command_line == ["make", "--", "all"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["run"], "no command; write it after --, as in: telemetryd run -- python train.py"),
        (["run", "--"], "no command; write it after --"),
        (["status", "--", "x"], "status takes nothing after --"),
        (["serve", "--endpont", "x"], "unrecognized arguments: --endpont"),
        (["fly"], "invalid choice: 'fly'"),
    ],
)
def test_a_wrong_call_is_told_and_nothing_is_started(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == exit_codes.USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", [("serve",), ("run", "--", "touch", "started"), ("status",), ("doctor",)])
def test_a_wrong_setting_is_told_with_its_source_and_nothing_is_started(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my.toml"
    path.write_text('endpont = "tcp://127.0.0.1:1"\n')
    monkeypatch.chdir(tmp_path)
    told = telemetryd_command(command[0], "--config", path, *command[1:])
    assert told.returncode == exit_codes.USAGE
    assert told.stderr == (
        f"telemetryd {command[0]}: config file {path}, line 1: unknown setting 'endpont'; did you mean 'endpoint'?\n"
    )
    assert not (tmp_path / "started").exists()


def test_a_socket_path_that_is_too_long_is_told() -> None:
    told = telemetryd_command("serve", "--endpoint", "ipc:///" + "x" * 120)
    assert told.returncode == exit_codes.USAGE
    assert "and the system allows 107: choose a shorter one with --endpoint or TELEMETRYD_ENDPOINT" in told.stderr


def test_serve_says_that_its_state_folder_cannot_be_written() -> None:
    told = telemetryd_command("serve", "--state-dir", "/proc/none")
    assert told.returncode == exit_codes.PLACE
    assert told.stderr.startswith("telemetryd serve: the state directory /proc/none cannot be written")
    assert "choose another with --state-dir or TELEMETRYD_STATE_DIR" in told.stderr


def test_every_setting_is_a_flag_of_serve(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["serve", "--help"])
    told = capsys.readouterr().out
    assert all(f"{field.flag} " in told and f"[{field.env}]" in " ".join(told.split()) for field in FIELDS)


def test_the_documentation_names_every_command_and_every_exit_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"## `telemetryd {command}" in text for command in COMMANDS)
    codes = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert all(f"| {code}" in text for code in codes)


def test_a_job_folder_with_a_client_of_its_own_does_not_disturb_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "client.py").write_text("raise RuntimeError('the wrong client')")
    monkeypatch.chdir(tmp_path)
    told = telemetryd_command("status", "--json")
    assert told.returncode == exit_codes.NO_DAEMON, told.stderr
