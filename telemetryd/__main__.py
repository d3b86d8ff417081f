"""`python -m telemetryd` is the `telemetryd` command."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # -m puts the working folder first on the path, where a job may have a `client` of its own.
    if Path.cwd() != Path(__file__).resolve().parent.parent:
        sys.path[:1] = [entry for entry in sys.path[:1] if entry and Path(entry) != Path.cwd()]
    from telemetryd.cli.main import main

    sys.exit(main())
