"""Settings: where they come from, who wins, and what is said when one is wrong."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import places
from telemetryd.cli.sidecar import private
from telemetryd.errors import PlaceError, SettingsError
from telemetryd.settings import DaemonSettings, folders, load, reference, values
from telemetryd.settings.fields import FIELDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def config(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_dataclass_has_exactly_the_fields_of_the_table() -> None:
    assert [field.name for field in dataclasses.fields(DaemonSettings)] == [field.name for field in FIELDS]


def test_every_setting_has_a_variable_and_a_flag_of_its_own() -> None:
    assert len({field.env for field in FIELDS}) == len({field.flag for field in FIELDS}) == len(FIELDS)
    assert all(field.env == f"TELEMETRYD_{field.name.upper()}" for field in FIELDS)


def test_the_documentation_has_the_table_as_it_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert reference.renewed(text) == text, "run: python -m telemetryd.settings.reference docs/configuration.md"


def test_without_any_source_daemon_and_client_agree_on_the_places() -> None:
    settings = load().settings
    assert settings.endpoint == places.endpoint()
    assert settings.state_dir == places.state_dir()
    assert settings.spool_dir == places.spool_dir()


def test_with_variables_daemon_and_client_agree_on_the_places(short_path: Path) -> None:
    environ = {
        **os.environ,
        "TELEMETRYD_ENDPOINT": "tcp://127.0.0.1:7077",
        "TELEMETRYD_STATE_DIR": str(short_path / "s"),
    }
    settings = load(environ=environ).settings
    assert settings.endpoint == places.endpoint(environ)
    assert settings.state_dir == places.state_dir(environ)
    assert settings.spool_dir == places.spool_dir(environ)


@pytest.mark.parametrize(
    ("in_file", "in_environment", "in_flag", "winner", "source"),
    [
        (None, None, None, "keep", None),
        ("drop", None, None, "drop", "config file"),
        ("drop", "keep", None, "keep", "environment variable TELEMETRYD_LATE"),
        ("keep", "keep", "drop", "drop", "--late"),
    ],
)
def test_flags_win_over_the_environment_over_the_file_over_the_defaults(
    tmp_path: Path,
    in_file: str | None,
    in_environment: str | None,
    in_flag: str | None,
    winner: str,
    source: str | None,
) -> None:
    path = config(tmp_path, f'late = "{in_file}"' if in_file else "")
    environ = {"HOME": str(tmp_path), **({"TELEMETRYD_LATE": in_environment} if in_environment else {})}
    loaded = load({"late": in_flag}, path, environ)
    assert loaded.settings.late == winner
    if source is None:
        assert "late" not in loaded.sources
    else:
        assert loaded.sources["late"].startswith(source)


def test_the_users_own_config_file_is_read_when_none_is_named(isolated: Path) -> None:
    folder = isolated / "config" / "telemetryd"
    folder.mkdir(parents=True)
    config(folder, "max_workers = 3")
    assert load().settings.max_workers == 3


def test_the_spool_lies_in_the_state_folder_wherever_that_is_put(tmp_path: Path) -> None:
    settings = load({"state_dir": str(tmp_path / "elsewhere")}).settings
    assert settings.spool_dir == tmp_path / "elsewhere" / "spool"


def test_relative_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"state_dir": "here/../there"}).settings.state_dir == tmp_path / "there"


def test_an_unknown_setting_is_named_with_its_file_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    path = config(tmp_path, '# mine\n\nendpont = "tcp://127.0.0.1:7077"\n')
    with pytest.raises(SettingsError) as caught:
        load(config=path)
    assert str(caught.value) == f"config file {path}, line 3: unknown setting 'endpont'; did you mean 'endpoint'?"


def test_an_unknown_table_is_an_unknown_setting_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"line 1: unknown setting 'daemon'; the settings are endpoint, state_dir"):
        load(config=config(tmp_path, "[daemon]\nlate = 'keep'\n"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("endpoint", "localhost:7077", "is not of the form ipc:///path/to/socket or tcp://host:port"),
        ("endpoint", "ipc:///" + "x" * 107, "has 108 bytes, and the system allows 107: choose a shorter one"),
        ("endpoint", "tcp://127.0.0.1", "needs a host and a port"),
        ("late", "maybe", "late 'maybe' must be keep or drop"),
        ("log_level", "loud", "must be debug, info, warning or error"),
        ("max_workers", "0", "must be from 1 to 256"),
        ("max_workers", "many", "is no whole number"),
        ("inbox_max_bytes", "8 gigs", "is no size; write it like 8GiB"),
        ("inbox_max_bytes", "1KiB", "is too small; it needs at least 16 MiB"),
        ("drain_timeout_s", "soon", "is no duration; write it like 60, 90s, 5min or 1h"),
        ("drain_timeout_s", "-1", "is no duration"),
        ("drain_timeout_s", "30d", "is too long"),
        ("exit_when_idle", "perhaps", "must be true or false"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_source_and_what_can_be(name: str, value: str, said: str) -> None:
    variable = f"TELEMETRYD_{name.upper()}"
    with pytest.raises(SettingsError) as caught:
        load(environ={**os.environ, variable: value})
    assert str(caught.value).startswith(f"environment variable {variable}: {name} ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text", ["late = 3", "late = true", "max_workers = 1.5", "max_workers = true", "state_dir = 7"]
)
def test_a_value_of_another_type_in_a_file_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=f"line 1: {text.split()[0]} "):
        load(config=config(tmp_path, text))


def test_a_default_socket_that_is_too_long_says_so_and_how_to_choose_another(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="choose a shorter one with --endpoint or TELEMETRYD_ENDPOINT"):
        load(environ={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/" + "x" * 120})


def test_a_named_config_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"does not exist: check the path given to --config"):
        load(config=tmp_path / "none.toml")


def test_a_home_folder_of_nobody_is_no_folder() -> None:
    with pytest.raises(SettingsError, match=r"--state-dir: state_dir '~nobody-of-this-name/x' is no folder"):
        load({"state_dir": "~nobody-of-this-name/x"})


def test_a_config_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"config file .* is no TOML: .*line 1"):
        load(config=config(tmp_path, "late = keep"))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 << 30),
        ("8 gib", 8 << 30),
        ("500MB", 500_000_000),
        ("1.5GiB", 3 << 29),
        ("16777216", 1 << 24),
        (1 << 24, 1 << 24),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | int, size: int) -> None:
    assert values.parse_bytes(0)(text) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [("4MB/s", 4_000_000), ("4 MiB / s", 4 << 20), ("1.5MB/sec", 1_500_000), (262144, 1 << 18), ("0", 0), (0, 0)],
)
def test_rates_are_read_as_people_write_them(text: str | int, rate: int) -> None:
    assert values.parse_rate(text) == rate


@pytest.mark.parametrize(("text", "why"), [("4MB/min", "is no rate"), ("1KiB/s", "the least is 256 KiB a second")])
def test_a_rate_that_cannot_be_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        values.parse_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60", 60.0), (2.5, 2.5), ("90s", 90.0), ("5min", 300.0), ("1.5 h", 5400.0), ("250ms", 0.25), (0, 0.0)],
)
def test_durations_are_read_as_people_write_them(text: str | float, seconds: float) -> None:
    assert values.parse_duration(1e6)(text) == seconds


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()))
def test_a_parser_gives_a_value_or_a_reason_and_nothing_else(value: object) -> None:
    for field in FIELDS:
        reason = None
        try:
            field.parse(value)
        except ValueError as error:
            reason = str(error)
        assert reason != ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0 s"), (3.14, "3.1 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (86400, "1 d")],
)
def test_durations_are_told_as_people_read_them(seconds: float, text: str) -> None:
    assert values.format_duration(seconds) == text


def test_preparing_makes_every_folder_for_its_owner_alone(short_path: Path) -> None:
    settings = load({"state_dir": str(short_path / "a"), "endpoint": f"ipc://{short_path}/b/d.sock"}).settings
    folders.prepare(settings)
    for folder in (settings.state_dir, settings.spool_dir, short_path / "b"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_state_folder_that_cannot_be_written_says_which_flag_chooses_another(short_path: Path) -> None:
    (short_path / "file").write_text("")
    for place in (short_path / "file", short_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(
            PlaceError, match=r"state directory .*choose another with --state-dir or TELEMETRYD_STATE_DIR"
        ):
            folders.prepare(load({"state_dir": str(place)}).settings)


def test_the_address_for_http_is_a_host_and_a_port_or_a_word() -> None:
    for written, kept in (
        ("auto", "auto"),
        (" OFF ", "off"),
        ("0.0.0.0:0", "0.0.0.0:0"),
        ("[::1]:19319", "[::1]:19319"),
    ):
        assert values.parse_http(written) == kept
    for wrong in ("19319", ":19319", "::1:19319", "host:", "host:65536", "http://host:1", "on", ""):
        with pytest.raises(ValueError, match="must be auto, off, or an address"):
            values.parse_http(wrong)


def test_a_daemon_of_ones_own_leaves_the_machines_http_port_alone_unless_it_was_given_one() -> None:
    settings = load(environ={}).settings
    assert private(settings).http == "off"
    assert private(settings).exit_when_idle
    assert private(dataclasses.replace(settings, http="127.0.0.1:5")).http == "127.0.0.1:5"
