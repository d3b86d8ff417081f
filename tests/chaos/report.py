"""Writes the table of docs/faults.md from what the fault matrix measured.

    python -m tests.chaos.report              plays the matrix (minutes), then writes the table
    python -m tests.chaos.report RESULTS      writes the table from a file of results (see test_fault_matrix.py)

Cells that the results lack keep their line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.chaos.matrix import Cell, all_cells

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "faults.md"
BEGIN = "<!-- faults: written by tests.chaos.report -->"
END = "<!-- end of faults -->"
HEAD = (
    "| what | fault | rows logged | rows in W&B | missing | doubled | exceptions | longest `log()` | p99.9 |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---:|"
)


def key(part: str, fault: str) -> str:
    """How a cell's line begins."""
    return f"| {part} | {fault} |"


def line(one: Cell, result: dict[str, Any]) -> str:
    """A cell's line."""
    begin = key(one.part, one.fault)
    if result["skipped"]:
        return f"{begin} not played: {result['skipped']} | | | | | | |"
    numbers = [f"{result[name]:,}" for name in ("logged", "in_wandb", "missing", "doubled", "exceptions")]
    return f"{begin} {' | '.join(numbers)} | {result['longest_ms']:.2f} ms | {result['p999_ms']:.2f} ms |"


def lines_of(text: str) -> dict[str, str]:
    """The lines of the document's table, by how they begin."""
    table = text.partition(BEGIN)[2].partition(END)[0]
    found = (re.match(r"\| [^|]+ \| [^|]+ \|", line) for line in table.splitlines())
    return {match[0]: match.string for match in found if match and match[0] != key("what", "fault")}


def render(results: list[dict[str, Any]], earlier: dict[str, str]) -> str:
    """The table, one line for each cell of the matrix that was ever played."""
    played = {(result["part"], result["fault"]): result for result in results}
    lines = []
    for one in all_cells():
        if (one.part, one.fault) in played:
            lines.append(line(one, played[one.part, one.fault]))
        elif key(one.part, one.fault) in earlier:
            lines.append(earlier[key(one.part, one.fault)])
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    return f"{BEGIN}\n{HEAD}\n" + "\n".join(lines) + f"\n\nMeasured on {machine}.\n{END}"


def write(results: list[dict[str, Any]]) -> None:
    """Replace the document's table."""
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(before + render(results, lines_of(text)) + rest.partition(END)[2])


def check(results: list[dict[str, Any]]) -> list[str]:
    """Results that have no cell: of a matrix that has changed since."""
    known = {(one.part, one.fault) for one in all_cells()}
    return [f"{r['part']} {r['fault']}" for r in results if (r["part"], r["fault"]) not in known]


def _play(out: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "tests/chaos/test_fault_matrix.py"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "TELEMETRYD_FAULTS_OUT": str(out)}, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path)
    given = parser.parse_args().results
    with tempfile.TemporaryDirectory() as folder:
        file = given or Path(folder) / "results.json"
        if given is None:
            _play(file)
        results: list[dict[str, Any]] = json.loads(file.read_text())
    if unknown := check(results):
        print(f"no cell of the matrix: {', '.join(unknown)}", file=sys.stderr)
        return 2
    write(results)
    missing = [one.id for one in all_cells() if key(one.part, one.fault) not in lines_of(DOCUMENT.read_text())]
    if missing:
        print(f"not in the table yet: {', '.join(missing)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
