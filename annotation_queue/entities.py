"""What every entity is besides its fields: a class that web frameworks take and give as it is."""

from __future__ import annotations

import typing
from functools import cache
from typing import Any

import attrs


class Entity:
    """The base of every entity: a frozen attrs class whose fields are all that it is.

    cattrs, msgspec and Litestar read attrs classes by themselves. pydantic, and FastAPI with it, asks a class for its schema.
    pydantic is imported only then, by whoever has it.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Any) -> Any:  # noqa: ANN401 - pydantic's own types
        """Describe the entity to pydantic: an object with its fields, made by the class, so that every check applies.

        Unknown fields are refused. Durations are seconds, as in `converters.make_converter`.
        """
        from pydantic_core import core_schema  # noqa: PLC0415 - only who has pydantic comes here

        model, names = _model_of(typing.cast("Any", cls))

        def take(value: object, read: Any) -> object:  # noqa: ANN401 - pydantic's own type
            if isinstance(value, cls):
                return value
            read_model = read(value)
            return cls(**{name: getattr(read_model, name) for name in names})

        def give(value: object) -> object:
            fields = {name: getattr(value, name) for name in names}
            made = model.model_construct(**fields)
            for name, each in fields.items():
                if each is attrs.NOTHING:
                    del made.__dict__[name]
            return made

        inner = handler.generate_schema(model)
        return core_schema.no_info_wrap_validator_function(
            take, inner, serialization=core_schema.plain_serializer_function_ser_schema(give, return_schema=inner)
        )


@cache
def _model_of(entity: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401 - an entity's class
    """Make the pydantic model with an entity's fields, and name them."""
    from pydantic import ConfigDict, Field, create_model  # noqa: PLC0415 - as above

    types = typing.get_type_hints(entity)
    fields: dict[str, Any] = {each.name: (types[each.name], _default(each, Field)) for each in attrs.fields(entity)}
    config = ConfigDict(extra="forbid", ser_json_timedelta="float")
    first_line = (entity.__doc__ or "").partition("\n")[0]
    model = create_model(entity.__name__, __config__=config, __doc__=first_line, __module__=entity.__module__, **fields)
    return model, tuple(fields)


def _default(each: attrs.Attribute[Any], make_field: Any) -> Any:  # noqa: ANN401 - pydantic's own types
    if each.default is attrs.NOTHING:
        return ...
    factory = getattr(each.default, "factory", None)
    return each.default if factory is None else make_field(default_factory=factory)
