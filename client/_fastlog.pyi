from collections.abc import Callable
from typing import Any

class Counter:
    next: int

class Tail:
    busy: bool
    word: int
    before: int
    size: int
    def enter(self, memory: Any) -> None: ...
    def leave(self) -> None: ...

class PlainLog:
    plain: bool
    slots: dict[Any, Any]
    def __init__(self, steps: Counter, tail: Any, encode: Callable[[Any], bytes], rich: Any) -> None: ...
    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None: ...

def checksum(data: Any, seed: int) -> int: ...
