"""`telemetryd login`: checks a W&B key with the server and keeps it in netrc, where the daemon and wandb find it.

Invariants
* The key is never printed, and never in an argument of a process of ours.
* A key that the server refuses is not kept; one that it cannot be asked about is, with a word about that.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from telemetryd.cli import exit_codes
from telemetryd.errors import ApiKeyError
from telemetryd.runs.errors import ServerError, ServerRefusedError
from telemetryd.runs.wandb_server import Server
from telemetryd.settings import api_key


def run(arguments: argparse.Namespace) -> int:
    """0 once the key is kept. Raises ApiKeyError."""
    url = (arguments.host or api_key.server_url(os.environ)).rstrip("/")
    if "://" not in url:
        url = f"https://{url}"
    name = api_key.machine(url)
    key = _given(arguments.key, name)
    if wrong := api_key.problem(key):
        raise ApiKeyError(f"that is no W&B key: {wrong}. Yours is at {_authorize_page(url)}")
    said = _verified(url, key)
    try:
        path = api_key.store(url, key, os.environ)
    except OSError as error:
        where = api_key.netrc_files(os.environ)[0]
        raise ApiKeyError(f"{where} cannot be written ({error.strerror}): mend that, or set NETRC") from error
    print(f"telemetryd login: {said}; the key for {name} is kept in {path}, and a daemon that runs picks it up")
    for variable in ("WANDB_API_KEY_FILE", "WANDB_API_KEY"):
        if os.environ.get(variable):
            print(f"telemetryd login: {variable} is set and comes before netrc: unset it where the daemon runs")
    if arguments.host and url != api_key.server_url(os.environ):
        print(f"telemetryd login: set WANDB_BASE_URL={url} where the daemon runs, or it asks another server")
    return exit_codes.OK


def _given(argument: str | None, name: str) -> str:
    if argument not in (None, "-"):
        return str(argument).strip()
    if argument is None and sys.stdin.isatty():
        try:
            return getpass.getpass(f"W&B API key for {name}: ").strip()
        except EOFError:
            return ""
    return sys.stdin.readline().strip()


def _verified(url: str, key: str) -> str:
    try:
        return f"the key is {Server(url, key).viewer()}'s"
    except ServerRefusedError as error:
        raise ApiKeyError(f"{error}. Nothing was kept; your key is at {_authorize_page(url)}") from error
    except ServerError as error:
        return f"the key could not be checked ({error})"


def _authorize_page(url: str) -> str:
    return f"{url.replace('://api.', '://')}/authorize"
