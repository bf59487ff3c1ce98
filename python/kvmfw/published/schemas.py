"""JSON Schemas of what verbs print, made from the types of the documents."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import msgspec

from kvmfw.errors import ArgumentError
from kvmfw.published import FORMATS
from kvmfw.published.parts import Envelope

__all__ = ["schema_of"]


def schema_of(name: str) -> dict[str, Any]:
    """Give the JSON Schema (2020-12) of a format.

    Raises
    ------
    ArgumentError
        When there is no such format.

    Examples
    --------
    >>> schema_of("rules")["properties"]["format"]
    {'const': 'kvmfw-rules'}
    """
    if name not in FORMATS:
        raise ArgumentError(f"there is no format `{name}`; there are {', '.join(FORMATS)}")
    version, place = FORMATS[name]
    module, _, kind = place.partition(":")
    body = getattr(importlib.import_module(f"kvmfw.{module}"), kind)
    (envelope, inner), parts = msgspec.json.schema_components((Envelope, body), ref_template="#/$defs/{name}")
    envelope, inner = (parts.pop(one["$ref"].rpartition("/")[2]) for one in (envelope, inner))
    properties = envelope["properties"] | inner["properties"]
    properties |= {"format": {"const": f"kvmfw-{name}"}, "version": {"const": version}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"kvmfw-{name}",
        "description": inspect.cleandoc(inner.get("description", "")),
        "type": "object",
        "properties": properties,
        "required": [*envelope["required"], *inner["required"]],
        "$defs": parts,
    }
