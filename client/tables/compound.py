"""Types made of types: one of several, lists, dicts, and arrays, which lists may stand for."""
# ruff: noqa: D102 - the methods are those of Type, which documents them

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from client.tables import types
from client.tables.types import INVALID, NONE, UNKNOWN, InvalidType, Type, UnknownType, WireType, gap


class UnionType(Type):
    """One of several types, in the order of their names."""

    name = "union"

    def __init__(self, allowed: Sequence[Type] = ()) -> None:
        super().__init__()
        self.allowed = sorted(_flat(allowed), key=str)
        self.params["allowed_types"] = self.allowed

    def assign(self, value: Any) -> Type:
        return _union(_assigned(self.allowed, lambda allowed: allowed.assign(value)))

    def assign_type(self, other: Type) -> Type:
        allowed: Sequence[Type] | None = self.allowed
        for each in other.allowed if isinstance(other, UnionType) else [other]:
            assert allowed is not None
            allowed = _assigned(allowed, lambda kind, each=each: kind.assign_type(each))
            if allowed is None:
                return INVALID
        return _union(allowed)

    def explain(self, value: Any, depth: int = 0) -> str:
        text = super().explain(value, depth)
        for index, each in enumerate(self.allowed):
            text += f"\n{gap(depth)}and" if index else ""
            text += "\n" + each.explain(value, depth + 1)
        return text

    def needs_objects(self) -> bool:
        return any(each.needs_objects() for each in self.allowed)

    def goes_by_class(self) -> bool:
        return all(each.goes_by_class() for each in self.allowed)

    def __repr__(self) -> str:
        return " or ".join(str(each) for each in self.allowed)


def _flat(kinds: Sequence[Type]) -> list[Type]:
    return [one for each in kinds for one in (each.allowed if isinstance(each, UnionType) else [each])]


def _assigned(allowed: Sequence[Type], assign: Any) -> list[Type] | None:
    """The types with a value assigned to the first that takes it, unknown ones last; None where none does."""
    known = [each for each in allowed if not isinstance(each, UnknownType)]
    unknown = len(allowed) - len(known)
    for index, each in enumerate(known):
        after = assign(each)
        if not isinstance(after, InvalidType):
            return [*known[:index], after, *known[index + 1 :], *[UNKNOWN] * unknown]
    if unknown:
        after = assign(UNKNOWN)
        if not isinstance(after, InvalidType):
            return [*known, after, *[UNKNOWN] * (unknown - 1)]
    return None


def _union(allowed: Sequence[Type] | None) -> Type:
    return INVALID if allowed is None else UnionType(allowed)


class ListType(Type):
    """list, tuple or set of elements of one type."""

    name = "list"

    def __init__(self, element: Type | None = None, length: int | None = None) -> None:
        super().__init__()
        self.element = element or UNKNOWN
        self.params.update(element_type=self.element, length=length)

    @classmethod
    def of(cls, items: Sequence[Any]) -> ListType:
        """The type of a list; of elements that do not go together it is an invalid one."""
        element: Type = UnionType([UNKNOWN, NONE]) if None in items else UNKNOWN
        for item in items:
            element = element.assign(item)
        return cls(element, len(items))

    def assign_type(self, other: Type) -> Type:
        if not isinstance(other, ListType):
            return INVALID
        element = self.element.assign_type(other.element)
        length = self.params["length"]
        if isinstance(element, InvalidType):
            return INVALID
        return ListType(element, length if length == other.params["length"] else None)

    def assign(self, value: Any) -> Type:
        if not hasattr(value, "__iter__"):
            return INVALID
        items, element = list(value), self.element
        for item in items:
            element = element.assign(item)
            if isinstance(element, InvalidType):
                return INVALID
        return ListType(element, len(items))

    def explain(self, value: Any, depth: int = 0) -> str:
        text, element = super().explain(value, depth), self.element
        if isinstance(value, (list, tuple, set, frozenset)):
            for index, item in enumerate(value):
                after = element.assign(item)
                if isinstance(after, InvalidType):
                    return text + f"\n{gap(depth)}Index {index}:\n{element.explain(item, depth + 1)}"
                element = after
        return text

    def needs_objects(self) -> bool:
        return self.element.needs_objects()

    def goes_by_class(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"{self.element}[]"


class ArrayType(Type):
    """A numpy array of one shape."""

    name = "ndarray"

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.params["shape"] = list(shape)

    def to_wire(self) -> WireType:
        return {"wb_type": self.name, "params": {**self.params, "serialization_path": None}}

    def assign_type(self, other: Type) -> Type:
        same = isinstance(other, ArrayType) and other.params == self.params
        return self if same or isinstance(other, ListType) else INVALID

    def assign(self, value: Any) -> Type:
        if isinstance(value, list):
            shape: list[int] = []
            inner: Any = value
            while isinstance(inner, list):
                shape.append(len(inner))
                inner = inner[0] if inner else None
            return self.assign_type(ArrayType(shape))
        kind = types.type_of(value)
        return self.assign_type(kind) if isinstance(kind, ArrayType) else INVALID

    def goes_by_class(self) -> bool:
        return False


class DictType(Type):
    """A dict with a type for each of its keys; also what the columns of a table are to a row."""

    name = "typedDict"

    def __init__(self, type_map: dict[Any, Type]) -> None:
        super().__init__()
        self.type_map = type_map
        self.params["type_map"] = type_map

    def assign_type(self, other: Type) -> Type:
        if not isinstance(other, DictType) or set(other.type_map) - set(self.type_map):
            return INVALID
        after = {key: kind.assign_type(other.type_map.get(key, UNKNOWN)) for key, kind in self.type_map.items()}
        return INVALID if any(isinstance(kind, InvalidType) for kind in after.values()) else DictType(after)

    def assign(self, value: Any) -> Type:
        if not isinstance(value, dict) or set(value) - set(self.type_map):
            return INVALID
        after = {key: kind.assign(value.get(key)) for key, kind in self.type_map.items()}
        return INVALID if any(isinstance(kind, InvalidType) for kind in after.values()) else DictType(after)

    def explain(self, value: Any, depth: int = 0) -> str:
        text = super().explain(value, depth)
        if isinstance(value, dict):
            if extra := set(value) - set(self.type_map):
                text += f"\n{gap(depth)}Found extra keys: {','.join(list(extra))}"
            for key, kind in self.type_map.items():
                if isinstance(kind.assign(value.get(key)), InvalidType):
                    text += f"\n{gap(depth)}Key '{key}':\n{kind.explain(value.get(key), depth + 1)}"
        return text

    def needs_objects(self) -> bool:
        return any(kind.needs_objects() for kind in self.type_map.values())

    def goes_by_class(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"{self.type_map}"


def optional(kind: Type) -> UnionType:
    """The type that takes None, too."""
    return UnionType([kind, NONE])
