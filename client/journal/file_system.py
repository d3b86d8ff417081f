"""What kind of file system a folder lies on, as far as that matters to a journal."""

from __future__ import annotations

import re
from pathlib import Path

MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs"})
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "beegfs", "gpfs", "fuse.sshfs",
     "fuse.glusterfs", "fuse.gcsfuse", "fuse.s3fs", "fuse.mountpoint-s3"}
)  # fmt: skip


def file_system(path: Path, mounts: str | None = None) -> str | None:
    """The type of the file system that `path` lies on, by /proc/mounts (or its text); None when it cannot be told."""
    try:
        text = Path("/proc/mounts").read_text(errors="replace") if mounts is None else mounts
    except OSError:
        return None
    real = path.resolve()
    best: tuple[int, str] | None = None
    for line in text.splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), parts[1]))  # a blank is \040
        if real == point or point in real.parents:
            depth = len(point.parts)
            if best is None or depth >= best[0]:  # of two mounts on one point the later one is seen
                best = (depth, parts[2])
    return best[1] if best else None


def spool_warning(path: Path, mounts: str | None = None) -> str | None:
    """What a person should know of a spool at `path`, as a sentence; None on an ordinary disk."""
    kind = file_system(path, mounts)
    if kind in MEMORY_FILE_SYSTEMS:
        return f"the spool {path} is in memory ({kind}): rows that no daemon has taken are gone after a restart"
    if kind in NETWORK_FILE_SYSTEMS:
        return f"the spool {path} is on a network file system ({kind}), whose hiccups and locks reach it"
    return None
