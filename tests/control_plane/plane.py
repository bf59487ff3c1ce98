"""etcd, kube-apiserver and kube-scheduler on loopback, each in a process that ends with its context."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.serve.running import Running

__all__ = ["Recorder", "control_plane", "scheduler", "until"]

ROOT = Path(__file__).parents[2]
BIN = ROOT / "build" / "kubernetes" / "bin"
_TOKEN = "of-this-test"
_SECONDS = 240


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    end = time.monotonic() + _SECONDS
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.3)


@contextmanager
def control_plane(folder: Path) -> Iterator[client.CoreV1Api]:
    """Run etcd and kube-apiserver; give a client."""
    for_clients, for_peers, secure = (_free_port() for _ in range(3))
    key, tokens = folder / "key.pem", folder / "tokens.csv"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    tokens.write_text(f"{_TOKEN},test,test,system:masters\n")
    etcd, peers = f"http://127.0.0.1:{for_clients}", f"http://127.0.0.1:{for_peers}"
    api = client.CoreV1Api(client.ApiClient(_configuration(secure)))
    store = (
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={etcd}",
        f"--advertise-client-urls={etcd}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    )
    server = (
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure}",
        f"--cert-dir={folder / 'certificates'}",
        f"--token-auth-file={tokens}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        # Their work is that of a controller manager, which there is not: accounts of pods, and taints of new nodes.
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
    )
    with _process(folder, "etcd", *store), _process(folder, "kube-apiserver", *server):
        until(lambda: _answers(api), "kube-apiserver does not answer")
        yield api


@contextmanager
def scheduler(folder: Path, api: client.CoreV1Api, extender: dict[str, Any]) -> Iterator[None]:
    """Run kube-scheduler with an extender."""
    kubeconfig, file = folder / "kubeconfig", folder / "scheduler.yaml"
    cluster = {"server": api.api_client.configuration.host, "insecure-skip-tls-verify": True}
    named = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    kubeconfig.write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "c"} | named)
    )
    own = f"127.0.0.1:{_free_port()}"
    document = {
        # What 1.20 calls it; extenders are as in v1.
        "apiVersion": "kubescheduler.config.k8s.io/v1beta1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "leaderElection": {"leaderElect": False},
        "healthzBindAddress": own,
        "metricsBindAddress": own,
        "extenders": [extender],
    }
    file.write_text(yaml.safe_dump(document))
    with _process(folder, "kube-scheduler", f"--config={file}", "--secure-port=0"):
        yield


class Recorder(ThreadingHTTPServer):
    """Stands before a service and keeps what the scheduler asks it."""

    daemon_threads = True

    def __init__(self, service: Running) -> None:
        super().__init__(("127.0.0.1", 0), _Forwards)
        self.service = service
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def listening(self) -> Iterator[Recorder]:
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Forwards(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, json.loads(body)))
        status, found = self.server.service.call("POST", self.path, body)
        answer = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *words: object) -> None:
        del words


def _configuration(port: int) -> client.Configuration:
    made = client.Configuration()
    made.host, made.verify_ssl = f"https://127.0.0.1:{port}", False
    made.api_key = {"authorization": f"Bearer {_TOKEN}"}
    return made


def _answers(api: client.CoreV1Api) -> bool:
    try:
        return any(one.metadata.name == "default" for one in api.list_namespace().items)
    except Exception:  # not yet: refused connections, then errors of all kinds
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@contextmanager
def _process(folder: Path, name: str, *words: str) -> Iterator[None]:
    log = folder / f"{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen([BIN / name, *words], stdout=said, stderr=said, cwd=folder)
        try:
            yield
            assert process.poll() is None, log.read_text()[-4000:]
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
