"""`telemetryd serve`: checks what can be checked before the daemon starts, then becomes the daemon."""

from __future__ import annotations

import argparse
import signal

from telemetryd.cli import exit_codes, options
from telemetryd.cli.extras import require_daemon
from telemetryd.errors import AlreadyServingError
from telemetryd.settings import folders

_WANTED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Raises SettingsError, PlaceError, AlreadyServingError or MissingExtraError."""
    # A launcher waits for its signals with a mask, which its children inherit.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WANTED)
    settings = options.loaded(arguments).settings
    require_daemon("serve")
    refuse_second(settings.endpoint)
    folders.prepare(settings)
    from telemetryd.supervision.daemon import serve

    return serve(settings) or exit_codes.OK


def refuse_second(endpoint: str) -> None:
    """Raises AlreadyServingError when something listens at the endpoint: ZeroMQ would take a socket over silently."""
    from telemetryd.cli.asking import Presence, look

    presence, facts = look(endpoint)
    if presence is Presence.ANSWERING:
        raise AlreadyServingError(
            f"a daemon (process {facts.get('pid', '?')}, state in {facts.get('state_dir', '?')}) serves {endpoint}"
            " already: use it, stop it, or choose another --endpoint and --state-dir"
        )
    if presence is Presence.SILENT:
        raise AlreadyServingError(
            f"something listens at {endpoint} and does not answer (a daemon that is stopped or stuck?): end it, or"
            " choose another --endpoint and --state-dir"
        )
