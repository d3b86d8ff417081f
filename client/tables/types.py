"""The types of a table's columns: which values go together, told as wandb tells it.

    type.assign(value)      the type after one more value; INVALID where that does not fit
    type.assign_type(type)  the same, for a type instead of a value
    type.explain(value)     the text of wandb's TypeError
    type.to_wire()          wandb's JSON form, from which the run worker makes wandb's own type

Invariants
* Types are immutable: assigning returns another one, or the same where nothing changes.
* What wandb 0.31 refuses is refused, and the type after any row of values is wandb's.
"""

# ruff: noqa: D102 - the methods are those of Type, which documents them
from __future__ import annotations

from collections.abc import Callable
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
            return f"{gap(depth)}{kind} not assignable to {self}"
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


def gap(depth: int) -> str:
    """The indent of an explanation."""
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
        self.name = name

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


INVALID: Type = InvalidType()
UNKNOWN: Type = UnknownType()
ANY: Type = AnyType()
NONE: Type = NoneType()
STRING: Type = StringType()
NUMBER: Type = NumberType()
BOOLEAN: Type = BooleanType()
TIMESTAMP: Type = TimestampType()


def _not_yet(value: Any) -> Type:
    raise NotImplementedError


type_of: Callable[[Any], Type] = _not_yet
"""The type of a value: recognise.py, which knows all types, puts it here."""
