"""Arrow Flight, for bulk and for planners in other languages: pairs by `do_exchange`, candidates by `do_get`."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import flight

from kvmfw.errors import InputError
from kvmfw.serve.documents import Batch
from kvmfw.serve.state import Service

__all__ = ["FlightService"]

_OUTCOMES = pa.schema([("outcome", pa.uint8())])


class _Bearer(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    def __init__(self, service: Service) -> None:
        self._service = service

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> None:
        del info
        said = {name.lower(): values for name, values in headers.items()}.get("authorization", [""])
        if not self._service.allows(said[0]):
            raise flight.FlightUnauthenticatedError("a token is asked for")


class FlightService(flight.FlightServerBase):  # type: ignore[misc]
    """The fleet of a service over Arrow Flight.

    ``do_exchange`` takes batches of two columns of integers, rows of VMs and of hosts, and gives for each batch the outcomes
    (uint8). ``do_get`` takes a ticket that is a document as `/v1/candidates/batch` takes it, and gives ``vm`` and ``host``.
    """

    def __init__(self, service: Service, location: str) -> None:
        super().__init__(location, middleware={"bearer": _Bearer(service)})
        self._service = service

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Judge pairs, batch by batch; all of them of one moment."""
        del context, descriptor
        now = self._service.snapshot()
        writer.begin(_OUTCOMES)
        for chunk in reader:
            if chunk.data is None:
                continue
            if chunk.data.num_columns != 2:
                raise flight.FlightServerError("expected two columns: rows of VMs, rows of hosts")
            vms, hosts = (column.to_numpy(zero_copy_only=False) for column in chunk.data.columns)
            try:
                outcomes = now.validate_pairs(vms, hosts)
            except InputError as error:
                raise flight.FlightServerError(str(error)) from None
            writer.write_batch(pa.record_batch([pa.array(outcomes)], schema=_OUTCOMES))

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Give the candidates of some VMs."""
        del context
        try:
            asked = msgspec.json.decode(ticket.ticket, type=Batch)
            names, _ = self._service.names(asked.unknown, asked.change)
            found = [(vm, host) for vm in asked.vms for host in names.takers(vm)]
        except (msgspec.DecodeError, InputError, RecursionError) as error:
            raise flight.FlightServerError(str(error)) from None
        columns = ([vm for vm, _ in found], [host for _, host in found])
        return flight.RecordBatchStream(
            pa.table(
                {
                    name: pa.array(column, pa.string())
                    for name, column in zip(("vm", "host"), columns, strict=True)
                }
            )
        )
