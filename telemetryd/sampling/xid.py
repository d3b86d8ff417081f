"""NVIDIA's XID codes as data: what they mean and what to do (NVIDIA, "XID Errors", and the driver's own names).

`fatal` is set where the process that used the GPU cannot go on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Xid:
    """One code."""

    meaning: str
    advice: str
    fatal: bool = True


_APPLICATION = "mostly a fault of the program: look at its CUDA errors, run it under compute-sanitizer; the GPU is well"
_RESTART = "restart the job; the GPU is well"
_RESET = "end the jobs on this GPU and reset it: nvidia-smi --gpu-reset, or restart the machine"
_EXCHANGE = "drain the machine, run `dcgmi diag -r 3`; if it comes again, have the card exchanged"
_LINK = "check the NVLink cables, bridges and the fabric manager; reset the GPUs of the machine; if it comes again,"
_LINK += " have it repaired"
_REPORT = "restart the job; if it comes again, reset the GPU and send an nvidia-bug-report.sh log to NVIDIA"

XIDS: dict[int, Xid] = {
    8: Xid("GPU stopped processing (it took too long to stop a channel)", _APPLICATION),
    13: Xid("graphics engine exception: an illegal instruction or address in a kernel", _APPLICATION),
    31: Xid("GPU memory page fault: a kernel used an address that is not its own", _APPLICATION),
    32: Xid("invalid or corrupted push buffer: PCIe or the driver", _REPORT),
    38: Xid("driver firmware error", _REPORT),
    43: Xid("GPU stopped processing: the program's channel was ended", _APPLICATION),
    44: Xid("graphics engine fault during a context switch", _REPORT),
    45: Xid("preemptive cleanup: the program was ended, or another error came before this one", _RESTART),
    48: Xid("double-bit ECC error: memory was corrupted and could not be mended", _RESET),
    56: Xid("display engine error", _REPORT, fatal=False),
    57: Xid("error programming the video memory interface", _EXCHANGE),
    58: Xid("unstable video memory interface", _EXCHANGE),
    61: Xid("internal micro-controller breakpoint", _RESET),
    62: Xid("internal micro-controller halt", _RESET),
    63: Xid("a memory row was remapped (or a page retired)", "nothing now; reset the GPU when it is free, so that the"
            " spare row is used", fatal=False),
    64: Xid("remapping a memory row (or retiring a page) failed", _EXCHANGE, fatal=False),
    65: Xid("video processor exception", _REPORT),
    66: Xid("illegal access by the driver", _REPORT),
    67: Xid("illegal access by the driver", _REPORT),
    68: Xid("video processor exception", _REPORT),
    69: Xid("graphics engine class error", _APPLICATION),
    74: Xid("NVLink error", _LINK),
    79: Xid("the GPU has fallen off the bus: it cannot be reached over PCIe any more",
            "restart the machine; check the card's power, cooling and seat; if it comes again, have it exchanged"),
    92: Xid("many single-bit ECC errors", _EXCHANGE, fatal=False),
    94: Xid("contained memory error: the program that used the memory was ended, others go on", _RESTART),
    95: Xid("uncontained memory error: every program on this GPU may have wrong data", _RESET),
    109: Xid("context switch timed out", _REPORT),
    110: Xid("security fault", _RESET),
    119: Xid("the GPU's system processor (GSP) did not answer in time", _RESET),
    120: Xid("error in the GPU's system processor (GSP)", _RESET),
    121: Xid("corrected error of the link between CPU and GPU (C2C)", "nothing now; reset when the GPU is free",
             fatal=False),
    122: Xid("reading the card's SPI flash failed", _REPORT, fatal=False),
    123: Xid("writing the card's SPI flash failed", _REPORT, fatal=False),
    136: Xid("link training failed", _LINK),
    137: Xid("NVLink privilege error: a remote GPU used memory that is not its own", _APPLICATION),
    140: Xid("ECC error that the driver could not recover from", _RESET),
    143: Xid("GPU initialisation failed", _EXCHANGE),
    144: Xid("NVLink error (SAW)", _LINK),
    145: Xid("NVLink error (RLW)", _LINK),
    146: Xid("NVLink error (TLW)", _LINK),
    147: Xid("NVLink error (TREX)", _LINK),
    148: Xid("NVLink error (NVLPW)", _LINK),
    149: Xid("NVLink error (NETIR)", _LINK),
    150: Xid("NVLink error (MSE)", _LINK),
    151: Xid("key rotation failed (confidential computing)", _RESET),
    154: Xid("the GPU asks for a recovery action", "nvidia-smi -q -d PAGE_RETIREMENT,ROW_REMAPPER tells which: a reset,"
             " a restart of the machine, or draining it", fatal=False),
    155: Xid("NVLink was switched off in software", _LINK),
    156: Xid("a resource was retired", "nothing now; reset when the GPU is free", fatal=False),
    157: Xid("retiring a resource failed", _EXCHANGE, fatal=False),
    158: Xid("fatal error of the GPU's timeout unit", _RESET),
    160: Xid("a memory channel was retired", "reset the GPU when it is free", fatal=False),
    161: Xid("retiring a memory channel failed", _EXCHANGE, fatal=False),
}  # fmt: skip

UNKNOWN = Xid("an error that is not in this table", "look it up in NVIDIA's list of XID errors", fatal=False)
"""A code that is not listed."""


def look_up(code: int) -> Xid:
    """What is known of a code."""
    return XIDS.get(code, UNKNOWN)
