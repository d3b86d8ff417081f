"""Whose certificates are trusted: told to the daemon once, known to everything here that asks W&B.

    wandb-core (Go), our own questions (OpenSSL)   SSL_CERT_FILE, with what the machine trusts besides
    wandb's downloads (requests)                   REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, and nothing besides

An upload that works where the download of the same version is tried for 20 minutes would be the price of one name
without the other, so the one that was given stands for both.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, MutableMapping
from pathlib import Path

log = logging.getLogger(__name__)

BUNDLE_NAME = "authorities.pem"


def bundle(environ: Mapping[str, str]) -> Path | None:
    """What requests was told to trust: a file, or a folder as OpenSSL has them."""
    given = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    return Path(given) if given else None


def share(environ: MutableMapping[str, str], folder: Path) -> None:
    """Complete the names in the environment; `folder` keeps the file that requests needs. Never raises."""
    given, found = environ.get("SSL_CERT_FILE"), bundle(environ)
    if found is not None and not given:
        environ.setdefault("SSL_CERT_DIR" if found.is_dir() else "SSL_CERT_FILE", str(found))
    elif given and found is None:
        try:
            environ["REQUESTS_CA_BUNDLE"] = str(_joined(Path(given), folder))
        except OSError as error:
            log.warning("authorities_unreadable path=%s reason=%r", given, error.strerror)


def _joined(given: Path, folder: Path) -> Path:
    """A file with these authorities beside those that requests trusts when it is told nothing. Raises OSError."""
    content = given.read_bytes() + b"\n" + _known()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = folder / BUNDLE_NAME
    partial = made.with_suffix(f".{secrets.token_hex(4)}")  # the workers of a daemon all make it
    partial.write_bytes(content)
    partial.replace(made)
    return made


def _known() -> bytes:
    try:
        import certifi  # what requests takes, and brings along
    except ImportError:
        return b""
    return Path(certifi.where()).read_bytes()
