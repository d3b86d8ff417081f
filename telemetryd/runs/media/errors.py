"""Why a media value is lost; the row's other values are kept.

MediaLostError
├── reason "bytes_missing"     its bytes did not come: a cap kept them out, or a file of the journal is damaged
├── reason "encoder_missing"   a package that encodes it is not installed beside the daemon: of the extra `media`;
│                              "encoder_missing_molecules" and "encoder_missing_plots" of the extras of these names
├── reason "unknown_kind"      a newer client's kind, which this telemetryd does not know
├── reason "refused"           wandb or its encoder refused it
└── reason "file_missing"      a file of `run.save` is not where it was, and its content did not come along
"""

from __future__ import annotations

BYTES_MISSING = "bytes_missing"
ENCODER_MISSING = "encoder_missing"
MOLECULES_MISSING = "encoder_missing_molecules"
PLOTS_MISSING = "encoder_missing_plots"
UNKNOWN_KIND = "unknown_kind"
REFUSED = "refused"
FILE_MISSING = "file_missing"


class MediaLostError(Exception):
    """A media value cannot be made; `reason` is one of the above."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
