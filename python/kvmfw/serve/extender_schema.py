"""The body of the scheduler's requests, for OpenAPI: which keys it has is read in any case, which no type says."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)

__all__ = ["ExtenderOperation"]

_STRINGS = Schema(type=OpenAPIType.OBJECT, additional_properties=Schema(type=OpenAPIType.STRING))
_METADATA = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "name": Schema(type=OpenAPIType.STRING),
        "namespace": Schema(type=OpenAPIType.STRING),
        "labels": _STRINGS,
        "annotations": _STRINGS,
    },
)
_ARGUMENTS = Schema(
    type=OpenAPIType.OBJECT,
    title="ExtenderArgs",
    properties={
        "Pod": Schema(type=OpenAPIType.OBJECT, properties={"metadata": _METADATA}),
        "Nodes": Schema(type=[OpenAPIType.OBJECT, OpenAPIType.NULL]),
        "NodeNames": Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING)),
    },
    required=["Pod", "NodeNames"],
)


@dataclass
class ExtenderOperation(Operation):
    """A verb of the extender: what is told of its body is what kube-scheduler sends with ``nodeCacheCapable``."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            content={"application/json": OpenAPIMediaType(schema=_ARGUMENTS)}, required=True
        )
