"""What can go wrong between a sampler and a driver; the type says what follows.

NvmlError
├── UnsupportedError   this card or driver does not have it: absent, and never asked again
├── NotNowError        it failed this time: absent from this reading
├── LostError          the card is gone (fell off the bus, must be reset): it is given up until NVML finds it again
└── DriverError        the driver was unloaded, restarted or updated: everything begins anew
    └── NoDriverError  there is none: the host is sampled alone
"""

from __future__ import annotations


class NvmlError(Exception):
    """NVML did not answer with a value; the message names the call."""


class UnsupportedError(NvmlError):
    """The card or the driver does not have it."""


class NotNowError(NvmlError):
    """It failed this time."""


class LostError(NvmlError):
    """The card is gone."""


class DriverError(NvmlError):
    """The driver is not the one any more that was initialised."""


class NoDriverError(DriverError):
    """No NVIDIA driver, or no nvidia-ml-py."""
