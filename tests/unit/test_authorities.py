"""Whom to trust is told once, by either name."""

from __future__ import annotations

from pathlib import Path

import pytest

from telemetryd.runs import authorities

OWN = b"-----BEGIN CERTIFICATE-----\nb3du\n-----END CERTIFICATE-----\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.pem"
    file.write_bytes(OWN)
    return file


def shared(folder: Path, **environ: object) -> dict[str, str]:
    environment = {name: str(value) for name, value in environ.items()}
    authorities.share(environment, folder / "state")
    return environment


def test_what_go_and_openssl_were_told_is_added_to_what_requests_trusts(tmp_path: Path, own: Path) -> None:
    environment = shared(tmp_path, SSL_CERT_FILE=own)
    content = Path(environment["REQUESTS_CA_BUNDLE"]).read_bytes()
    assert environment["SSL_CERT_FILE"] == str(own)
    assert content.startswith(OWN)
    assert content.count(b"BEGIN CERTIFICATE") > 100, "a bucket of a cloud is trusted as before"
    assert shared(tmp_path, SSL_CERT_FILE=own) == environment
    assert [path.name for path in (tmp_path / "state").iterdir()] == [authorities.BUNDLE_NAME]


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_what_requests_was_told_holds_for_go_and_openssl(tmp_path: Path, own: Path, name: str) -> None:
    assert shared(tmp_path, **{name: own})["SSL_CERT_FILE"] == str(own)
    assert shared(tmp_path, **{name: tmp_path})["SSL_CERT_DIR"] == str(tmp_path)


def test_what_both_were_told_stays(tmp_path: Path, own: Path) -> None:
    both = {"SSL_CERT_FILE": str(own), "REQUESTS_CA_BUNDLE": "/other"}
    assert shared(tmp_path, **both) == both
    assert shared(tmp_path) == {}


def test_a_file_that_is_not_there_is_logged_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = {"SSL_CERT_FILE": str(tmp_path / "gone")}
    assert shared(tmp_path, **gone) == gone
    assert "authorities_unreadable" in caplog.text
