"""The types of a table's columns: which values go together, told as wandb tells it.

    type.assign(value)      the type after one more value; INVALID where that does not fit
    type.assign_type(type)  the same, for a type instead of a value
    type.explain(value)     the text of wandb's TypeError
    type.to_wire()          wandb's JSON form, from which the run worker makes wandb's own type

Invariants
* Types are immutable: assigning returns another one, or the same where nothing changes.
* What wandb 0.31 refuses is refused, and the type after any row of values is wandb's; `tests/parity` holds the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WireType = dict[str, Any]


class Type:
    """The base of all types. `name` is wandb's; `params` are compared, shown and sent."""

    name = ""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def assign(self, value: Any) -> Type:
        """The type after `value` was assigned; INVALID where it may not be."""
        return self.assign_type(type_of(value))

    def assign_type(self, other: Type) -> Type:
        """The type after a value of type `other` was assigned; INVALID where it may not be."""
        return self if type(other) is type(self) and self.params == other.params else INVALID

    def explain(self, value: Any, depth: int = 0) -> str:
        """Why `value` cannot be assigned."""
        kind = type_of(value)
        if depth:
            return f"{_gap(depth)}{kind} not assignable to {self}"
        return f"{value} of type {kind} is not assignable to {self}"

    def to_wire(self) -> WireType:
        """wandb's JSON form of the type."""
        params = {key: _params_to_wire(value) for key, value in self.params.items()}
        return {"wb_type": self.name, "params": params} if params else {"wb_type": self.name}

    def needs_objects(self) -> bool:
        """Whether only wandb's own objects tell the type in full: media and tables."""
        return False

    def goes_by_class(self) -> bool:
        """Whether the class of a value, and nothing else of it but that a float is NaN, decides what `assign` does."""
        return True

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}:{value}" for key, value in self.params.items())
        return f"{self.name.capitalize()}({shown})" if shown else self.name.capitalize()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Type) and self.name == other.name and self.params == other.params)

    def __hash__(self) -> int:
        return hash(repr(self))


def _gap(depth: int) -> str:
    return "\t" * depth


def _params_to_wire(value: Any) -> Any:
    if isinstance(value, Type):
        return value.to_wire()
    if isinstance(value, dict):
        return {key: _params_to_wire(item) for key, item in value.items()}
    if isinstance(value, (list, set, tuple, frozenset)):
        return [_params_to_wire(item) for item in value]
    return value


class InvalidType(Type):
    """What no value can be assigned to."""

    name = "invalid"

    def assign_type(self, other: Type) -> Type:
        return self


class AnyType(Type):
    """Takes everything but None."""

    name = "any"

    def assign_type(self, other: Type) -> Type:
        return INVALID if isinstance(other, (NoneType, InvalidType)) else self


class UnknownType(Type):
    """Becomes the type of the first value that is not None."""

    name = "unknown"

    def assign_type(self, other: Type) -> Type:
        return INVALID if isinstance(other, NoneType) else other


class NoneType(Type):
    """None, and a float that is NaN."""

    name = "none"


class StringType(Type):
    """str."""

    name = "string"


class NumberType(Type):
    """int, float and numpy's numbers."""

    name = "number"


class TimestampType(Type):
    """datetime, date and numpy.datetime64."""

    name = "timestamp"


class BooleanType(Type):
    """bool and numpy.bool_."""

    name = "boolean"


class ArtifactVersionType(Type):
    """A reference to an artifact: "wandb-artifact://…"."""

    name = "artifactVersion"


class PythonObjectType(Type):
    """Any other object, by the name of its class."""

    name = "pythonObject"

    def __init__(self, class_name: str) -> None:
        super().__init__()
        self.params["class_name"] = class_name


class ObjectType(Type):
    """Media and joined tables: here only by their kind; the run worker asks wandb's own object for the rest."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]

    def assign_type(self, other: Type) -> Type:
        return self if isinstance(other, ObjectType) and other.name == self.name else INVALID

    def needs_objects(self) -> bool:
        return True


class ConstType(Type):
    """One value, or a set of them."""

    name = "const"

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.params.update(val=value, is_set=isinstance(value, set))

    def assign(self, value: Any) -> Type:
        return self.assign_type(ConstType(value))

    def goes_by_class(self) -> bool:
        return False

    def __repr__(self) -> str:
        return str(self.params["val"])


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
            allowed = _assigned(allowed, lambda kind, each=each: kind.assign_type(each))  # type: ignore[misc]
            if allowed is None:
                return INVALID
        return _union(allowed)

    def explain(self, value: Any, depth: int = 0) -> str:
        text = super().explain(value, depth)
        for index, each in enumerate(self.allowed):
            text += f"\n{_gap(depth)}and" if index else ""
            text += "\n" + each.explain(value, depth + 1)
        return text

    def needs_objects(self) -> bool:
        return any(each.needs_objects() for each in self.allowed)

    def goes_by_class(self) -> bool:
        return all(each.goes_by_class() for each in self.allowed)

    def __repr__(self) -> str:
        return " or ".join(str(each) for each in self.allowed)


def _flat(types: Sequence[Type]) -> list[Type]:
    return [one for each in types for one in (each.allowed if isinstance(each, UnionType) else [each])]


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
                    return text + f"\n{_gap(depth)}Index {index}:\n{element.explain(item, depth + 1)}"
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
        kind = type_of(value)
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
                text += f"\n{_gap(depth)}Found extra keys: {','.join(list(extra))}"
            for key, kind in self.type_map.items():
                if isinstance(kind.assign(value.get(key)), InvalidType):
                    text += f"\n{_gap(depth)}Key '{key}':\n{kind.explain(value.get(key), depth + 1)}"
        return text

    def needs_objects(self) -> bool:
        return any(kind.needs_objects() for kind in self.type_map.values())

    def goes_by_class(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"{self.type_map}"


INVALID, UNKNOWN, ANY, NONE = InvalidType(), UnknownType(), AnyType(), NoneType()
STRING, NUMBER, BOOLEAN, TIMESTAMP = StringType(), NumberType(), BooleanType(), TimestampType()


def optional(kind: Type) -> UnionType:
    """The type that takes None, too."""
    return UnionType([kind, NONE])


from client.tables.recognise import type_of  # noqa: E402 - the two know each other: types of values, values' types
