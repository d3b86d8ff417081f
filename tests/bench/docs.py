"""Puts the results of a full benchmark into the documents: `python -m tests.bench.docs [--from bench-out]`.

docs/performance.md has every table between markers and the plots beside it in docs/performance/; README.md has the
summary alone, the same as there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.bench import plots, report, sections
from tests.bench.environments import ROOT

PAGE, README, PLOTS = ROOT / "docs" / "performance.md", ROOT / "README.md", ROOT / "docs" / "performance"
SUMMARY = ("<!-- bench: a summary of bench-out/bench.md -->\n", "<!-- end of bench -->")
TABLES = ("<!-- tables: from bench-out/bench.md -->\n", "<!-- end of tables -->")


def replaced(text: str, markers: tuple[str, str], block: str) -> str:
    """`text` with what stands between the markers replaced. Raises ValueError where they are not there once each."""
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the document has no {begin.strip()} … {end}")
    before, _, rest = text.partition(begin)
    return before + begin + block + end + rest.partition(end)[2]


def summary(results: dict[str, Any]) -> str:
    """The block that README and page share."""
    return "\n".join([*sections.summary(results), sections.where(results)]) + "\n"


def write(folder: Path, results: dict[str, Any]) -> list[Path]:
    """Changes both documents and draws the plots anew; the files written."""
    short, full = summary(results), "\n".join(sections.everything(results)) + "\n"
    README.write_text(replaced(README.read_text(), SUMMARY, short))
    PAGE.write_text(replaced(replaced(PAGE.read_text(), SUMMARY, short), TABLES, full))
    PLOTS.mkdir(exist_ok=True)
    written = plots.write(folder, results)
    return [README, PAGE, *(Path(shutil.copy(path, PLOTS / path.name)) for path in written)]


def main() -> None:
    """See the module's head."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.docs", description=__doc__)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("bench-out"), help="where `make bench` wrote")
    parser.add_argument("--any", action="store_true", help="take the results of a quick run, too")
    options = parser.parse_args()
    results = json.loads((options.folder / report.JSON).read_text())
    if results["mode"] != "full" and not options.any:
        sys.exit("these are the results of a quick run, which are not for the documents: make bench")
    for path in write(options.folder, results):
        print(path)


if __name__ == "__main__":
    main()
