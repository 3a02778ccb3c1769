"""Types as pydantic takes them: what it can't declare, or would hand over as something else, is replaced."""

from __future__ import annotations

import collections.abc
import enum
import sys
import types
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    Unpack,
    cast,
    get_args,
    get_origin,
)

import typing_extensions
from pydantic import AfterValidator, EncodedBytes
from typing_extensions import NoDefault, ReadOnly

_LISTS = (collections.abc.Iterable, collections.abc.Collection)
_UNPACKS: tuple[Any, ...] = (Unpack, typing_extensions.Unpack)  # two things before Python 3.12
_QUALIFIERS: tuple[Any, ...] = (Required, NotRequired, ReadOnly)


class Undeclarable(Exception):
    """A type has no JSON form. The text is the reason and what to do."""


def supported(annotation: Any, names: dict[str, Any], *, within: tuple[Any, ...] = ()) -> Any:
    """Replace, at any depth, the types that pydantic can't take as they are.

    - `Iterable[T]` and `Collection[T]` become `list[T]`: pydantic would hand over a lazy iterator, whose
      elements fail only inside the tool.
    - `Literal[Color.RED]` becomes the literals of the values, which are what the model can give, and then the
      members again.
    - A type variable becomes its default, its constraints or its bound.
    - `typing.TypedDict` becomes that of typing_extensions before Python 3.12, where pydantic insists on it;
      one that contains itself is left, and refused by pydantic with that advice.

    Args:
        annotation: A type.
        names: The local names that a TypedDict's fields may use.
        within: The TypedDicts around this type.

    Raises:
        Undeclarable: A type variable stands for nothing, or bytes are encoded once more within base64.
    """

    def replace(part: Any) -> Any:
        return supported(part, names, within=within)

    if isinstance(annotation, TypeVar):
        return replace(_meaning_of(annotation))
    if _is_old_typed_dict(annotation) and annotation not in within:
        return _new_typed_dict(annotation, names, within)
    origin, args = get_origin(annotation), get_args(annotation)
    if (origin or annotation) in _LISTS:
        return list[replace(args[0] if args else Any)]  # type: ignore[misc]
    if origin is Literal:
        return _literal(annotation, args)
    if origin is Annotated:
        if any(isinstance(item, EncodedBytes) for item in annotation.__metadata__):
            raise Undeclarable("is decoded twice: bytes are base64 in JSON already. Annotate it with bytes.")
        return Annotated[(replace(args[0]), *annotation.__metadata__)]
    if origin is None or origin is collections.abc.Callable:
        return annotation
    new = tuple(map(replace, args))
    if all(a is b for a, b in zip(new, args, strict=True)):
        return annotation
    if origin is Union or origin is types.UnionType:
        return Union[new]  # noqa: UP007 - of a tuple
    return annotation.copy_with(new) if hasattr(annotation, "copy_with") else origin[new]


def is_typed_dict(annotation: Any) -> bool:
    """Return whether a type is a TypedDict, of typing or of typing_extensions."""
    return isinstance(annotation, type) and typing_extensions.is_typeddict(annotation)


def typed_dict_fields(typed_dict: Any, names: dict[str, Any]) -> dict[str, tuple[Any, bool]]:
    """List the fields of a TypedDict: the type of each, and whether it is required."""
    hints = typing_extensions.get_type_hints(typed_dict, localns=names, include_extras=True)
    fields = {}
    for name, hint in hints.items():
        required = name in typed_dict.__required_keys__
        while (origin := cast(Any, get_origin(hint))) in _QUALIFIERS:
            required = required if origin is ReadOnly else origin is Required
            (hint,) = get_args(hint)
        fields[name] = (hint, required)
    return fields


def unpacked(annotation: Any) -> Any:
    """Give the type inside of `Unpack[...]`, as `get_type_hints` writes `*tuple[...]` too, or None."""
    return get_args(annotation)[0] if get_origin(annotation) in _UNPACKS else None


def make_typed_dict(name: str, fields: dict[str, Any]) -> Any:
    """Make a TypedDict, total, out of the types of its fields."""
    make: Any = typing_extensions.TypedDict
    return make(name, fields)


def _literal(annotation: Any, members: tuple[Any, ...]) -> Any:
    values = tuple(each.value if isinstance(each, enum.Enum) else each for each in members)
    if values == members:
        return annotation
    # 1 and True are the same key without their types.
    by_value = {(type(value), value): each for value, each in zip(values, members, strict=True)}
    return Annotated[Literal[values], AfterValidator(lambda value: by_value[type(value), value])]


def _meaning_of(variable: TypeVar) -> Any:
    default = getattr(variable, "__default__", NoDefault)
    if default is not NoDefault:
        return default
    if variable.__constraints__:
        return Union[variable.__constraints__]  # noqa: UP007 - of a tuple
    if variable.__bound__ is not None:
        return variable.__bound__
    raise Undeclarable(
        f"has the type variable {variable.__name__}, which stands for nothing here. Put a type there."
    )


def _is_old_typed_dict(annotation: Any) -> bool:
    return (
        sys.version_info < (3, 12) and type(annotation).__module__ == "typing" and is_typed_dict(annotation)
    )


def _new_typed_dict(old: Any, names: dict[str, Any], within: tuple[Any, ...]) -> Any:
    fields = {}
    for name, (hint, required) in typed_dict_fields(old, names).items():
        new_hint = supported(hint, names, within=(*within, old))
        fields[name] = (Required if required else NotRequired)[new_hint]
    new = make_typed_dict(old.__name__, fields)
    for attribute in ("__doc__", "__module__", "__qualname__", "__pydantic_config__"):
        if hasattr(old, attribute):
            setattr(new, attribute, getattr(old, attribute))
    return new
