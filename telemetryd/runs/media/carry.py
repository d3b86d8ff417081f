"""Media files of a run's earlier folders that W&B does not have: a worker that was killed had not uploaded them yet.

Rows that name such files are in W&B, or are written again from the earlier .wandb file; the files themselves lie in the
folder of the worker that made them, which no wandb-core uploads from any more. They are copied into the present folder
under the same name, and go with it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

MEDIA = "media"


def carry_media(
    earlier: Iterable[Path],
    present: Path,
    sizes_of: Callable[[list[str]], dict[str, int]],
    publish: Callable[[str], None],
) -> int:
    """Bring what is missing into the run's present `files` folder; how many files that were.

    `earlier` are `files` folders, `sizes_of` says which of some names W&B has, with their sizes, `publish` has a file
    of the present folder uploaded.
    """
    carried = 0
    for folder in earlier:
        for names in _slices(_names(folder)):
            there = sizes_of(names)
            for name in names:
                source = folder / name
                if there.get(name) != source.stat().st_size:
                    target = present / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
                    publish(name)
                    carried += 1
    if carried:
        log.info("media_carried files=%d", carried)
    return carried


def _names(folder: Path) -> Iterator[str]:
    for place, _, files in os.walk(folder / MEDIA):
        for file in sorted(files):
            yield str((Path(place) / file).relative_to(folder))


def _slices(names: Iterable[str], size: int = 200) -> Iterator[list[str]]:
    some: list[str] = []
    for name in names:
        some.append(name)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
