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

_NOTHING = Schema(type=OpenAPIType.NULL)
# Go writes null for what is empty.
_OBJECT = Schema(any_of=[Schema(type=OpenAPIType.OBJECT), _NOTHING])
_METADATA = Schema(type=OpenAPIType.OBJECT, properties={"labels": _OBJECT, "annotations": _OBJECT})
_POD = Schema(type=OpenAPIType.OBJECT, properties={"metadata": Schema(any_of=[_METADATA, _NOTHING])})
_NODE = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "metadata": Schema(
            type=OpenAPIType.OBJECT,
            properties={"name": Schema(type=OpenAPIType.STRING)},
            required=["name"],
        )
    },
    required=["metadata"],
)
_NODES = Schema(
    type=OpenAPIType.OBJECT,
    properties={"items": Schema(any_of=[Schema(type=OpenAPIType.ARRAY, items=_NODE), _NOTHING])},
)
_NAMES = Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING))
_ARGUMENTS = Schema(
    title="ExtenderArgs",
    any_of=[
        Schema(
            type=OpenAPIType.OBJECT,
            properties={"Pod": _POD, "NodeNames": names, "Nodes": nodes},
            required=["Pod", wanted],
        )
        for names, nodes, wanted in ((_NAMES, _NOTHING, "NodeNames"), (_NOTHING, _NODES, "Nodes"))
    ],
)


@dataclass
class ExtenderOperation(Operation):
    """A verb of the extender: what is told of its body is what kube-scheduler sends, with ``nodeCacheCapable`` and without."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            content={"application/json": OpenAPIMediaType(schema=_ARGUMENTS)}, required=True
        )
