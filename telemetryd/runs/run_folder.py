"""Where a run's folder is made: where its client says, as far as the daemon lets it.

Over ipc a client of the daemon's own user, or root, may write there anyway; of another user, or over TCP, nothing
counts but the daemon's own folder and the roots that its settings name (`run_dirs`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)


def run_folder(directory: str, roots: Sequence[Path] | None, own: Path) -> Path:
    """The folder in which `wandb/` is made. `roots` None: anywhere; `own` is the daemon's, and always good."""
    if not directory:
        return own
    if roots is None or any(_is_below(directory, root) for root in (*roots, own)):
        return Path(directory)
    log.warning("directory_refused directory=%r instead=%s setting=run_dirs", directory[:200], own)
    return own


def _is_below(directory: str, root: Path) -> bool:
    """Links are followed first: a link within a root that leads out of it leads nowhere."""
    return Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(root))
