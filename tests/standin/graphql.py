"""A small GraphQL executor over plain nodes.

A *node* is a dict: field name → value, or → a callable that takes the field's arguments as a dict. Values are
scalars, nodes, or lists of either. Invariants: a field nobody answers is null and is told to `unknown`; an error raised
by a resolver as GraphQLError becomes an entry of `errors` and null at the root field; everything the document
names (aliases, fragments, variables with defaults, @include and @skip) is honoured. Types are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]
_TOKEN = re.compile(
    r'[\s,\ufeff]+|#[^\n]*|(?P<token>\.\.\.|"""(?:[^\\]|\\.)*?"""|"(?:[^"\\\n]|\\.)*"'
    r"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[_A-Za-z]\w*|[!$&()=:@\[\]{|}])"
)
#: Types of which a node is never another: fragments on them are taken by exact name only.
_DISJOINT = {"ArtifactSequence", "ArtifactPortfolio"}


class GraphQLError(Exception):
    """The server refuses this field with a message; `status` is the HTTP status of the whole answer."""

    def __init__(self, message: str, status: int = 200):
        super().__init__(message)
        self.status = status


@dataclass
class Variable:
    """`$name` in a document."""

    name: str


@dataclass
class Selection:
    """One field, or a fragment's selections when `fields_of` (an inline fragment) or `spread` (a named one) is set."""

    name: str = ""
    alias: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    directives: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    selections: list[Selection] = field(default_factory=list)
    spread: str = ""
    condition: str = ""


@dataclass
class Document:
    """A parsed document: its first operation and all its fragments."""

    operation: str = "query"
    name: str = ""
    defaults: dict[str, Any] = field(default_factory=dict)
    selections: list[Selection] = field(default_factory=list)
    fragments: dict[str, tuple[str, list[Selection]]] = field(default_factory=dict)


class _Parser:
    def __init__(self, text: str):
        self.tokens = list(self._scan(text))
        self.at = 0

    @staticmethod
    def _scan(text: str) -> Iterator[str]:
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise GraphQLError(f"Syntax Error: unexpected {text[position]!r} at {position}", 400)
            position = match.end()
            if match["token"]:
                yield match["token"]

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise GraphQLError(f"Syntax Error: expected {expected or 'more'}, found {token or 'the end'}", 400)
        self.at += 1
        return token

    def taken(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def document(self) -> Document:
        document = Document()
        while self.peek():
            if self.peek() == "{":
                document.selections = self.selections()
            elif (word := self.take()) == "fragment":
                name = self.take()
                self.take("on")
                document.fragments[name] = (self.take(), self.selections())
            elif word in ("query", "mutation"):
                document.operation = word
                document.name = self.take() if self.peek() not in "({@" else ""
                document.defaults = self.variables() if self.peek() == "(" else {}
                document.selections = self.selections()
            else:
                raise GraphQLError(f"Syntax Error: unexpected {word!r}", 400)
        return document

    def variables(self) -> dict[str, Any]:
        defaults = {}
        self.take("(")
        while not self.taken(")"):
            self.take("$")
            name = self.take()
            self.take(":")
            while self.peek() not in ("=", "$", ")"):
                self.take()
            if self.taken("="):
                defaults[name] = self.value()
        return defaults

    def selections(self) -> list[Selection]:
        self.take("{")
        found = []
        while not self.taken("}"):
            found.append(self.fragment() if self.taken("...") else self.field())
        return found

    def fragment(self) -> Selection:
        selection = Selection()
        if self.taken("on"):
            selection.condition = self.take()
        elif self.peek() not in ("@", "{"):
            selection.spread = self.take()
        selection.directives = self.directives()
        if not selection.spread:
            selection.selections = self.selections()
        return selection

    def field(self) -> Selection:
        alias = name = self.take()
        if self.taken(":"):
            name = self.take()
        selection = Selection(name, alias, self.arguments(), self.directives())
        if self.peek() == "{":
            selection.selections = self.selections()
        return selection

    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if self.taken("("):
            while not self.taken(")"):
                name = self.take()
                self.take(":")
                arguments[name] = self.value()
        return arguments

    def directives(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        while self.taken("@"):
            name = self.take()
            found.append((name, self.arguments()))
        return found

    def value(self) -> Any:
        token = self.take()
        if token == "$":
            return Variable(self.take())
        if token == "[":
            items = []
            while not self.taken("]"):
                items.append(self.value())
            return items
        if token == "{":
            fields = {}
            while not self.taken("}"):
                name = self.take()
                self.take(":")
                fields[name] = self.value()
            return fields
        if token.startswith('"'):
            return token.strip('"').encode().decode("unicode_escape")
        if re.fullmatch(r"-?\d+", token):
            return int(token)
        if re.fullmatch(r"-?\d.*", token):
            return float(token)
        return {"true": True, "false": False, "null": None}.get(token, token)


def parse(text: str) -> Document:
    """Parse one document. Raises GraphQLError(400) when it is not GraphQL."""
    return _Parser(text).document()


class Execution:
    """One document carried out: `run()` gives the answer's body; what nobody answers goes to `unknown(name)`."""

    def __init__(self, document: Document, variables: dict[str, Any], unknown: Callable[[str], None]):
        self.document = document
        self.variables = {**document.defaults, **variables}
        self.unknown = unknown
        self.errors: list[Node] = []
        self.status = 200

    def run(self, root: Node) -> Node:
        """Answer the operation from `root`: {"data": …} and, if a resolver refused, {"errors": […]}."""
        data = {}
        for selection in self._fields(root, self.document.selections):
            try:
                data[selection.alias] = self._field(root, selection)
            except GraphQLError as error:
                data[selection.alias] = None
                self.status = error.status
                self.errors.append({"message": str(error), "path": [selection.alias]})
        return {"data": data, "errors": self.errors} if self.errors else {"data": data}

    def _fields(self, node: Node, selections: list[Selection]) -> Iterator[Selection]:
        for selection in selections:
            if not self._included(selection):
                continue
            if selection.name:
                yield selection
                continue
            condition, inner = selection.condition, selection.selections
            if selection.spread:
                condition, inner = self.document.fragments[selection.spread]
            if condition not in _DISJOINT or node.get("__typename") == condition:
                yield from self._fields(node, inner)

    def _included(self, selection: Selection) -> bool:
        for name, arguments in selection.directives:
            if name in ("include", "skip") and bool(self._value(arguments.get("if"))) != (name == "include"):
                return False
        return True

    def _field(self, node: Node, selection: Selection) -> Any:
        if selection.name not in node:
            self.unknown(f"{self.document.name}: {node.get('__typename', '?')}.{selection.name}")
            return None
        value = node[selection.name]
        if callable(value):
            value = value({name: self._value(given) for name, given in selection.arguments.items()})
        return self._select(value, selection)

    def _select(self, value: Any, selection: Selection) -> Any:
        if not selection.selections or value is None:
            return value
        if isinstance(value, list):
            return [self._select(item, selection) for item in value]
        answer: Node = {}
        for inner in self._fields(value, selection.selections):
            result = self._field(value, inner)
            if isinstance(result, dict) and isinstance(answer.get(inner.alias), dict):
                result = {**answer[inner.alias], **result}
            answer[inner.alias] = result
        return answer

    def _value(self, given: Any) -> Any:
        if isinstance(given, Variable):
            return self.variables.get(given.name)
        if isinstance(given, list):
            return [self._value(item) for item in given]
        if isinstance(given, dict):
            return {name: self._value(item) for name, item in given.items()}
        return given


def connection(typename: str, nodes: list[Any], arguments: dict[str, Any]) -> Node:
    """A page of `nodes` as GraphQL connections have it: first/after (a cursor is an index) or last."""
    begin = int(arguments.get("after") or 0)
    end = begin + int(arguments.get("first") or len(nodes))
    if arguments.get("last"):
        begin, end = max(0, len(nodes) - int(arguments["last"])), len(nodes)
    page = nodes[begin:end]
    edges = [
        {"__typename": f"{typename}Edge", "cursor": str(begin + n + 1), "node": node} for n, node in enumerate(page)
    ]
    info = {"__typename": "PageInfo", "endCursor": str(begin + len(page)), "hasNextPage": end < len(nodes)}
    return {"__typename": f"{typename}Connection", "edges": edges, "pageInfo": info, "totalCount": len(nodes)}
