"""The version of the distribution, as a constant: reading its metadata would cost milliseconds at import."""

VERSION = "0.1.0"
