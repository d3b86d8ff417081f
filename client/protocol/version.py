"""Version of the wire protocol, apart from the version of the package.

MAJOR changes when an older peer would misunderstand a message; peers of different majors refuse each other.
MINOR changes when a message, a field or a record kind is added; a peer ignores what it does not know.
"""

MAJOR = 1
MINOR = 2


def is_compatible(major: int) -> bool:
    """Whether a peer that speaks `major` can be understood; every minor of the same major can."""
    return major == MAJOR
