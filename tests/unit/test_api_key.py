"""Where the W&B key comes from, and how it is kept."""

from __future__ import annotations

import netrc
from pathlib import Path

import pytest

from telemetryd.errors import ApiKeyError
from telemetryd.settings import api_key

KEY, OTHER = "k" * 40, "o" * 40
URL = "https://wandb.example.org:8443"


def test_the_sources_have_an_order_and_a_newline_at_the_end_of_a_secret_is_no_part_of_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{KEY}\r\n")
    rc = tmp_path / "netrc"
    rc.write_text(f"machine wandb.example.org:8443 login user password {'n' * 40}\n")
    environ = {"NETRC": str(rc), "WANDB_API_KEY": OTHER, "WANDB_API_KEY_FILE": str(secret)}
    found = []
    for _ in range(3):
        key = api_key.find(URL, environ)
        assert key is not None
        assert key.value not in repr(key)
        found.append(key.value)
        environ.pop("WANDB_API_KEY_FILE" if "WANDB_API_KEY_FILE" in environ else "WANDB_API_KEY", None)
    assert found == [KEY, OTHER, "n" * 40]
    assert api_key.find("https://elsewhere.example.org", environ) is None


@pytest.mark.parametrize("text", ["short", "x" * 39, "with space" * 5, "p-" + "x" * 39, "ä!" * 30])
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ApiKeyError) as raised:
        api_key.find(URL, {"WANDB_API_KEY": text})
    assert text not in str(raised.value)
    with pytest.raises(ApiKeyError):
        api_key.store(URL, text, {"NETRC": str(tmp_path / "netrc")})
    assert not (tmp_path / "netrc").exists()


@pytest.mark.parametrize("key", ["x" * 40, "local-" + "x" * 40, "x" * 86, "head.er-er.sig_na"])
def test_keys_of_every_form_that_wandb_takes_are_taken(key: str) -> None:
    assert api_key.problem(key) is None


def test_a_stored_key_replaces_the_hosts_older_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text(
        "# a comment\nmachine a.example.org login me password secret\n"
        f"machine wandb.example.org:8443\n  login user\n  password {OTHER}\n"
        "macdef init\nmachine wandb.example.org:8443\n\ndefault login any password thing\n"
    )
    environ = {"NETRC": str(path)}
    assert api_key.store(URL, KEY, environ) == path
    kept = netrc.netrc(path)
    assert kept.authenticators("wandb.example.org:8443") == ("user", "", KEY)
    assert kept.authenticators("a.example.org") == ("me", "", "secret")
    assert kept.authenticators("unknown") == ("any", "", "thing")
    assert kept.macros == {"init": ["machine wandb.example.org:8443\n"]}
    assert OTHER not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["netrc"]


def test_a_source_that_was_named_and_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for environ in ({"WANDB_API_KEY_FILE": str(tmp_path / "none")}, {"NETRC": str(tmp_path)}):
        with pytest.raises(ApiKeyError, match=str(tmp_path)):
            api_key.find(URL, environ)
    assert api_key.find(URL, {"NETRC": str(tmp_path / "none")}) is None
