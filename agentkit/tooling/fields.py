"""What the source of a class says of its fields: the texts below them, and its docstring."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Collection
from typing import Any

from agentkit.tooling.docstrings import Doc, docstring_of, parse
from agentkit.wire.content import JsonObject


def describe_class(schema: JsonObject, cls: Any) -> JsonObject:
    """Add to the schema of a class what its source says of the fields, where they have no description yet."""
    properties = schema.get("properties")
    if not isinstance(cls, type) or not isinstance(properties, dict):
        return schema
    aliases = _aliases(cls)
    doc = class_doc(cls, [name for name, alias in aliases.items() if alias in properties], aliases)
    for name, words in doc.parameters.items():
        properties[aliases[name]].setdefault("description", words)
    if doc.parameters and schema.get("description") == docstring_of(cls):
        schema["description"] = doc.description
        if not doc.description:
            del schema["description"]
    return schema


def _aliases(cls: type) -> dict[str, str]:
    """Return the fields of a model, dataclass or TypedDict, and the name of each in JSON."""
    fields: Any = getattr(cls, "__pydantic_fields__", {})
    made = dict.fromkeys(getattr(cls, "__dataclass_fields__", None) or getattr(cls, "__annotations__", {}))
    named = {name: getattr(fields.get(name), "validation_alias", None) for name in {**made, **fields}}
    return {name: alias if isinstance(alias, str) else name for name, alias in named.items()}


def class_doc(cls: type, names: Collection[str], hidden: Collection[str] = ()) -> Doc:
    """Read what is said of a class, and of its fields: in texts below them, or in a section of its docstring.

    Args:
        cls: A model, a dataclass, a TypedDict.
        names: Its fields that the model sees.
        hidden: Its other fields.

    The texts of base classes count too; where there is no source to read, as in a shell, only docstrings do.
    """
    doc = parse(docstring_of(cls), names, hidden)
    words = dict(doc.parameters)
    for base in reversed(cls.__mro__):
        if base is not object and base.__module__ in sys.modules:
            own = _texts_in(base.__module__).get(base.__qualname__, {})
            words |= {name: text for name, text in own.items() if name in names}
    return Doc(doc.description, words)


@functools.lru_cache(100)
def _texts_in(module: str) -> dict[str, dict[str, str]]:
    """Read the texts below the fields of each class of a module, by the class's qualified name."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return {}
    found: dict[str, dict[str, str]] = {}
    _collect(tree, "", found)
    return found


def _collect(node: ast.AST, path: str, found: dict[str, dict[str, str]]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            found[f"{path}{child.name}"] = _texts_below(child)
            _collect(child, f"{path}{child.name}.", found)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _collect(child, f"{path}{child.name}.<locals>.", found)
        elif isinstance(child, ast.stmt):
            _collect(child, path, found)


def _texts_below(cls: ast.ClassDef) -> dict[str, str]:
    texts: dict[str, str] = {}
    for field, below in zip(cls.body, cls.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            value: Any = below.value.value
            if isinstance(value, str) and value.strip():
                texts[field.target.id] = " ".join(value.split())
    return texts
