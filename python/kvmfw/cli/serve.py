"""The verb `serve`: answers over HTTP and Arrow Flight."""

from __future__ import annotations

import ipaddress
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from kvmfw.analysis.extras import need
from kvmfw.cli.options import folder_argument, vmm_option
from kvmfw.cli.streams import note
from kvmfw.errors import InputError

__all__ = ["serve"]


@click.command(short_help="Answer planners over HTTP and Arrow Flight.")
@folder_argument
@vmm_option()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="The port for HTTP."
)
@click.option(
    "--flight", type=click.IntRange(0, 65535), help="The port for Arrow Flight; without it there is none."
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the token that requests must bear; without it, only loopback can be listened at.",
)
@click.option(
    "--every",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="Seconds between two looks at the folder.",
)
def serve(
    *, fleet: Path, vmm: str, host: str, port: int, flight: int | None, token_file: Path | None, every: float
) -> int:
    """Answer questions about FLEET until SIGTERM or SIGINT; requests at hand are answered first.

    A folder that changes is read anew beside the fleet that answers, and takes its place whole.
    """
    token = None if token_file is None else token_file.read_text("utf-8").strip()
    if token_file is not None and not token:
        raise InputError("there is no token in it", file=str(token_file))
    if token is None and not _is_loopback(host):
        raise InputError(f"`{host}` can be reached from elsewhere; --token-file says who may ask")
    uvicorn = need("uvicorn", "serve")
    need("litestar", "serve")
    from kvmfw.serve.app import make_app
    from kvmfw.serve.state import Service

    service = Service.of(fleet, vmm=vmm, token=token, every=every)
    config = uvicorn.Config(
        make_app(service),
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=30,
        server_header=False,
        # Neither is used, and both cost every request some time.
        access_log=False,
        proxy_headers=False,
    )
    bulk = None
    if flight is not None:
        from kvmfw.serve.flight import FlightService

        bulk = FlightService(service, f"grpc://{host}:{flight}")
        note(f"kvmfw: Arrow Flight at {host}:{bulk.port}")
    listening = config.bind_socket()
    # Who connects from here on is answered, once the server is up.
    listening.listen()
    note(f"kvmfw: {service.snapshot()!r} at http://{host}:{listening.getsockname()[1]}")
    # The server lets requests end, and gives the signal on to who was there before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        uvicorn.Server(config).run([listening])
    finally:
        if bulk is not None:
            bulk.shutdown()
    return 0


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    sys.exit(0)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
