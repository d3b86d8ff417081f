"""What `import` and `init` take over bare Python: time and memory. Run in a fresh interpreter:

    python -c 'from tests.bench.startup import main; main()' NAME FOLDER

prints milliseconds and MB (1e6 bytes) of resident memory. Imports nothing before the clock runs that Python has not
imported itself, so that nothing is had for free.
"""

import sys
import time


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is not imported yet
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def main() -> None:
    """See the module's head."""
    before_bytes, before_ns = resident_bytes(), time.perf_counter_ns()
    from tests.bench.peers import load

    peer = load(sys.argv[1])()
    peer.open(sys.argv[2])
    taken_ns = time.perf_counter_ns() - before_ns
    print(f"\nstarted {taken_ns / 1e6:.3f} {(resident_bytes() - before_bytes) / 1e6:.3f}", flush=True)
    peer.close()
