"""Certificates for tests: an authority, and servers' certificates that it signs, by `openssl`."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

from tests.support.requirements import require

_DAYS = "2"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs certificates; `file` is what others must trust. All of it lies in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        """Skips the test where there is no openssl."""
        require(shutil.which("openssl"), "openssl makes certificates")
        self._folder = folder
        self.file, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.file, "-days", _DAYS, "-subj", f"/CN={name}")

    def server(self, names: str = "IP:127.0.0.1,DNS:localhost") -> ssl.SSLContext:
        """What a server shows who is called `names` (as in subjectAltName)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.sign(context, names)
        return context

    def sign(self, context: ssl.SSLContext, names: str = "IP:127.0.0.1,DNS:localhost") -> None:
        """Have a server show a new certificate of this authority; connections that there are go on."""
        stem = f"{self.file.stem}-{len(list(self._folder.iterdir()))}"
        key, wish, signed, more = (self._folder / f"{stem}.{end}" for end in ("key", "csr", "pem", "ext"))
        more.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
        _openssl("req", "-new", *_KEY, "-keyout", key, "-out", wish, "-subj", "/CN=server")
        signing = ("-CA", self.file, "-CAkey", self._key, "-set_serial", "2", "-days", _DAYS, "-extfile", more)
        _openssl("x509", "-req", "-in", wish, "-out", signed, *signing)
        context.load_cert_chain(signed, key)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"
