"""telemetryd: the daemon that owns the wandb run, and its command line. Training processes import `client` instead."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """`__version__`, looked up only when asked for: reading a distribution's metadata takes milliseconds."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("telemetryd")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"
