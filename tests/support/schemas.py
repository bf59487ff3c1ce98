"""Published schemas, read strictly."""

from __future__ import annotations

from typing import Any

__all__ = ["strict"]


def strict(schema: Any) -> Any:
    """Give the schema with no name allowed that it does not tell: what is not published is not printed."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema and "type" in schema else {}
    return closed | {key: strict(value) for key, value in schema.items()}
