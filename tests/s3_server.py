"""An S3-compatible store on this machine, for tests: moto's server, in a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch
from urllib.parse import quote

import urllib3

# Ends when its input does, so with whoever started it.
_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class S3Server:
    """A store with one empty bucket.

    Attributes:
        endpoint: its http address.
        bucket: the bucket's name.
    """

    endpoint: str
    bucket: str

    @property
    def address(self) -> str:
        """The bucket as an address."""
        return f"s3://{self.bucket}"

    def new_bucket(self) -> S3Server:
        """The same store with another, empty bucket."""
        bucket = f"test-{secrets.token_hex(6)}"
        self._send("PUT", bucket)
        return S3Server(self.endpoint, bucket)

    def put(self, key: str, data: bytes) -> str:
        """Write an object under whatever name, also those that PyArrow can't write; returns its address."""
        self._send("PUT", f"{self.bucket}/{quote(key)}", data)
        return f"{self.address}/{key}"

    def keys(self) -> list[str]:
        """The keys of all objects, markers of folders included."""
        listing = self._send("GET", f"{self.bucket}?list-type=2&max-keys=10000").decode()
        return [part.partition("</Key>")[0] for part in listing.split("<Key>")[1:]]

    def deny(self, prefix: str = "") -> None:
        """From now on refuse what concerns objects below a prefix; this object can write nothing to the bucket then."""
        resources = [f"arn:aws:s3:::{self.bucket}/{prefix}*", *([] if prefix else [f"arn:aws:s3:::{self.bucket}"])]
        statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resources}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self._send("PUT", f"{self.bucket}?policy", json.dumps(policy).encode())

    def allow(self) -> None:
        """Refuse nothing any more."""
        self._send("DELETE", f"{self.bucket}?policy")

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        # Moto tells an owner from a stranger by the header; it doesn't check the signature.
        owner = {"Authorization": "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request"}
        response = urllib3.request(method, f"{self.endpoint}/{path}", body=body, headers=owner, retries=False)
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {response.data!r}")
        return response.data


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running store; until the end, this process and those that it starts find it under s3://."""
    process = subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline().decode().strip()
        if not port:
            raise RuntimeError("moto's server did not start")
        server = S3Server(f"http://127.0.0.1:{port}", "").new_bucket()
        with patch.dict(os.environ, _environment(server.endpoint)):
            yield server
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()


def _environment(endpoint: str) -> dict[str, str]:
    """What PyArrow's S3 looks at; it also keeps what this machine has of its own out of the tests."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
