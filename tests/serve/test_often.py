"""What is answered before the framework is what the framework answers, to the byte; everything else is left to it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmfw.serve.app import make_app
from kvmfw.serve.metrics import Metrics
from kvmfw.serve.often import CANDIDATES, Often
from kvmfw.serve.state import Service

EXAMPLES = Path(__file__).parents[2] / "examples"
VM = "n1-510-a.gic3.fresh"
PLAIN = f"vm={VM}&unknown=refuse&change=accept"
TOKEN = "s3cret"
ODD = ["a b", "a+b", "%", "%zz", "%2", "é", "5", "x" * 1024, "\ufffd", "a/b", "a;b"]


class Asked:
    """An application that is asked without a server."""

    def __init__(self, folder: Path, token: str | None) -> None:
        self.service = Service.of(folder, vmm="kvm", token=token, every=3600)
        self.whole = make_app(self.service)
        self.loop = asyncio.new_event_loop()

    def __call__(self, app: Any, query: bytes, *headers: tuple[bytes, bytes], method: str = "GET") -> Any:
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": CANDIDATES,
            "raw_path": CANDIDATES.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"x"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 1),
        }
        self.loop.run_until_complete(app(scope, receive, send))
        status, found = said[0]["status"], dict(said[0]["headers"])
        return status, found[b"content-type"], b"".join(part["body"] for part in said[1:])

    def framework(self, query: bytes, *headers: tuple[bytes, bytes]) -> Any:
        return self(self.whole._app, query, *headers)


@pytest.fixture(scope="module", params=[None, TOKEN], ids=["open", "with a token"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("fleets") / "fleet"
    shutil.copytree(EXAMPLES, folder)
    vms = [json.loads(line) for line in (folder / "vms.jsonl").read_text().splitlines()]
    for vm, name in zip(vms[-len(ODD) :], ODD, strict=True):
        vm["id"] = name
    (folder / "vms.jsonl").write_text("".join(json.dumps(vm) + "\n" for vm in vms))
    one = Asked(folder, request.param)
    yield one
    one.loop.close()


async def nobody(*_: Any) -> None:
    raise AssertionError("the framework was asked")


BEARER = (b"authorization", f"Bearer {TOKEN}".encode())
VALUES = st.sampled_from(
    [
        VM,
        VM.replace("-", "%2D"),
        "nobody",
        "",
        "%ff",
        "%C3%A9",
        "%c3",
        "a%20b",
        "a%2Bb",
        "%25",
        "%25zz",
        "x" * 1025,
        *ODD,
    ]
)
PAIRS = st.one_of(
    st.tuples(st.just("vm"), VALUES),
    st.tuples(
        st.sampled_from(["unknown", "change"]), st.sampled_from(["accept", "refuse", "maybe", "", "%61ccept"])
    ),
    st.tuples(st.just("shape"), st.sampled_from(["names", "classes", "both", ""])),
    st.tuples(st.sampled_from(["VM", "other", "", "v%6D"]), VALUES),
)
WORDS = [("unknown", "refuse"), ("change", "accept"), ("shape", "names")]


@given(
    vm=VALUES,
    some=st.sets(st.integers(0, 2), min_size=2),
    more=st.lists(PAIRS, max_size=2),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=200)
def test_answers_and_refusals_are_the_frameworks(
    asked: Asked, vm: str, some: set[int], more: Any, order: Any
) -> None:
    pairs = [("vm", vm), *(WORDS[at] for at in sorted(some)), *more]
    order.shuffle(pairs)
    query = "&".join(f"{key}={value}" for key, value in pairs).encode()
    for headers in ([], [BEARER], [(b"authorization", b"Bearer wrong")]):
        assert asked(asked.whole, query, *headers) == asked.framework(query, *headers), query


def test_a_plain_question_never_reaches_the_framework(asked: Asked) -> None:
    metrics = Metrics()
    often = Often(nobody, asked.service, metrics)
    for query in (PLAIN, f"{PLAIN}&shape=names", f"shape=classes&{PLAIN.replace('-', '%2d')}"):
        found = asked(often, query.encode(), BEARER)
        assert found[0] == 200
        assert found == asked.framework(query.encode(), BEARER)
    assert f'route="{CANDIDATES}"}} 3.0' in metrics.text(asked.service).decode()
    for query, method in ((PLAIN, "HEAD"), (f"{PLAIN}&vm=x", "GET"), (PLAIN.replace(VM, "nobody"), "GET")):
        with pytest.raises(AssertionError, match="the framework was asked"):
            asked(often, query.encode(), BEARER, method=method)
    if asked.service.token is not None:
        with pytest.raises(AssertionError, match="the framework was asked"):
            asked(often, PLAIN.encode())
