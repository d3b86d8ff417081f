"""Which file system a path lies on, without touching it: a disk that hangs would keep whoever asks it."""

from __future__ import annotations

from pathlib import Path


def file_system(mountinfo: Path, path: str) -> str | None:
    """The device number of the mount that a path lies on, as "disk 8:1"; None where that cannot be told.

    `mountinfo` is /proc/PID/mountinfo of a process that sees the path. Symbolic links are not followed.
    """
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    best, device = "", None
    for line in lines:
        fields = line.split()
        if len(fields) < 5:
            continue
        point = fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of two mounts at one place the later one is seen
            best, device = point, fields[2]
    return f"disk {device}" if device is not None else None
