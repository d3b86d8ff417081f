"""The wire between a training process and the daemon: see SPEC.md.

This package has a version of its own (`version.py`), apart from the distribution's. It imports only the standard
library and msgspec, does no I/O and keeps no state, so both sides and the tests use it alike.
"""
