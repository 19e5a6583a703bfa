"""What tests of archives share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import S3Server, s3_server

_NOBODY = 65_534


@pytest.fixture
def users_folder() -> Iterator[Path]:
    """A folder of a user whom permissions bind, which they don't root: as root, the test runs as nobody."""
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(_NOBODY)
    folder = Path(tempfile.mkdtemp(prefix="capstan-test-"))
    try:
        yield folder
    finally:
        if privileged:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A store that speaks S3, with an empty bucket."""
    with s3_server() as server:
        yield server
