"""What wandb's module does for the whole process: `setup`, `login`, `require`, `ensure_configured`, `restore`.

`setup(settings=...)` gives settings to every later `init`: below its arguments and its `settings=`, above the
environment. There is no service process to start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from client import settings as settings_module
from client.config import config_of_files
from client.errors import UnsupportedError
from client.limits import RESTORE_TIMEOUT_S
from client.settings import Settings
from client.term import termsetup, termwarn

_given: dict[str, Any] = {}


class Setup:
    """What `setup` returns: the settings of this process."""

    @property
    def settings(self) -> Settings:
        """The environment's settings with those given to `setup` over them."""
        values = {**settings_module.from_environment(os.environ), **_given}
        return Settings(**values)

    @property
    def config(self) -> dict[str, Any]:
        """What the files of `config_paths` say."""
        return config_of_files(config_paths())


def setup(settings: Settings | Mapping[str, Any] | None = None) -> Setup:
    """Give settings to every later `init` of this process and of those that it forks. Raises SettingError."""
    given = settings_module.given_settings(settings)
    _given.update({name: value for name, value in given.items() if value is not None})
    made = Setup()
    termsetup(made.settings, None)
    return made


def forget() -> None:
    """Forget what was given to `setup`."""
    _given.clear()


def given_to_setup() -> dict[str, Any]:
    """The settings given to `setup`, by name."""
    return dict(_given)


def config_paths() -> list[str]:
    """The files that every run's config is read from: `setup`'s `config_paths`, else WANDB_CONFIG_PATHS (by commas)."""
    given = _given.get("config_paths")
    if given is None:
        given = os.environ.get("WANDB_CONFIG_PATHS") or ()
    return (
        [path for path in given.split(",") if path] if isinstance(given, str) else [os.fspath(path) for path in given]
    )


def login(
    key: str | None = None,
    relogin: bool | None = None,
    host: str | None = None,
    force: bool | None = None,
    timeout: int | None = None,
    verify: bool = True,
    referrer: str | None = None,
    prompt: bool = True,
    anonymous: object = None,
) -> bool:
    """True: the daemon holds the key to W&B, and a training process needs none. Give it with `telemetryd login`.

    Arguments are wandb's. A `key` or a `host` given here goes nowhere, and a warning says where to give it. False, as
    in wandb, while a run is active and in the modes "offline" and "disabled".
    """
    if key or host:
        given = " and ".join(name for name, value in (("key", key), ("host", host)) if value)
        termwarn(
            f"login({given}=...) is ignored here: W&B is reached by the daemon. Give it the key with `telemetryd login`"
            " where it runs, or as $WANDB_API_KEY of its environment, and another server as its $WANDB_BASE_URL.",
            repeat=False,
        )
    if sys.modules["client"].run is not None:
        termwarn("Calling wandb.login() after wandb.init() has no effect.")
        return False
    values = {**settings_module.from_environment(os.environ), **_given}
    mode = settings_module.checked_mode(values.get("mode"))
    if mode == "offline":
        termwarn("Unable to verify login in offline mode.")
    return mode == "online"


def restore(
    name: str,
    run_path: str | None = None,
    replace: bool = False,
    root: str | None = None,
    *,
    timeout: float = RESTORE_TIMEOUT_S,
) -> IO[str] | None:
    """Download a file of a run, as `Run.restore`; without an active run `run_path` is needed, and `root` is here."""
    run = sys.modules["client"].run
    if run is not None:
        found: IO[str] | None = run.restore(name, run_path, replace, root, timeout=timeout)
        return found
    if run_path is None:
        raise ValueError("run_path required when calling wandb.restore before wandb.init")
    from client.artifacts.api import DirectChannel
    from client.artifacts.remote import Remote
    from client.restoring import restore_file

    return restore_file(Remote(DirectChannel()).ask, name, run_path, replace, root or str(Path.cwd()), timeout)


def require(requirement: str | Iterable[str] | None = None, experiment: str | Iterable[str] | None = None) -> None:
    """Nothing, for what wandb 0.31 knows: "core", "service". Raises UnsupportedError for another feature."""
    features = requirement or experiment or ()
    unknown = ""
    for item in [features] if isinstance(features, str) else features:
        feature = item.split("@", 2)[0].split(":", 2)[0]
        if feature in ("core", "service"):
            termwarn(f"`wandb.require('{feature}')` is a no-op as it is now the default behavior.")
        elif feature != "require":
            unknown = f"require() unsupported requirement: {feature}"
            termwarn(unknown)
    if unknown:
        raise UnsupportedError(unknown)


def ensure_configured() -> None:
    """Nothing; deprecated in wandb too."""
    termwarn(
        "wandb.ensure_configured() is deprecated and does nothing: credentials are the daemon's,"
        " and `telemetryd doctor` checks them.",
        repeat=False,
    )
