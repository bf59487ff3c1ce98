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
_POD = Schema(type=OpenAPIType.OBJECT, properties={"metadata": _METADATA})
_NOTHING = Schema(type=OpenAPIType.NULL)
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
    # Go writes null for a list that is empty.
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
