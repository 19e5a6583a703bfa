"""Errors of object stores in one line of words, with the right kind."""

from __future__ import annotations

import errno

import pyarrow as pa
import pytest

from caption_core.archive.store_errors import cause_of, image_error_of, is_denied
from caption_core.records import ErrorKind

DENIED = (
    "When reading information for key 'a/x.jpg' in bucket 'b': AWS Error ACCESS_DENIED during HeadObject operation: "
    "No response body."
)
NO_BUCKET = (
    "When listing objects under key 'a/' in bucket 'b': AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: "
    "The specified bucket does not exist (Request ID: SmzZ2nNugBmeOCHOlIi5xQOcvpYfjB7tVhBHiRFImx7cnGslNoaq)"
)
NO_NETWORK = (
    "When getting information for key 'x' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject operation: "
    "curlCode: 7, Could not connect to server; Details: Failed to connect to 127.0.0.1:9 after 0 ms"
)
NO_JAVA = "Unable to load libjvm\ndlopen(/usr/lib/libjvm.so) failed\ndlopen(libjvm.so) failed"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(DENIED), ErrorKind.UNREADABLE, "access denied (HeadObject)"),
        (OSError(NO_BUCKET), ErrorKind.NOT_FOUND, "no such object"),
        (OSError(NO_NETWORK), ErrorKind.DOWNLOAD_FAILED, "Failed to connect to 127.0.0.1:9 after 0 ms"),
        (OSError(NO_JAVA), ErrorKind.DOWNLOAD_FAILED, "Unable to load libjvm"),
        (OSError("AWS Error SLOW_DOWN during GetObject operation: Reduce"), ErrorKind.DOWNLOAD_FAILED, "slow down"),
        (FileNotFoundError(errno.ENOENT, "No such file"), ErrorKind.NOT_FOUND, "no such object"),
        (PermissionError(errno.EACCES, "Permission denied"), ErrorKind.UNREADABLE, "Permission denied"),
        (OSError("google::cloud::Status(PERMISSION_DENIED: x)"), ErrorKind.UNREADABLE, "PERMISSION_DENIED"),
        (OSError(errno.EIO, "Input/output error"), ErrorKind.DOWNLOAD_FAILED, "Input/output error"),
        (OSError(), ErrorKind.DOWNLOAD_FAILED, "OSError"),
        (pa.ArrowInvalid("Empty path component in path b/d//x.jpg"), ErrorKind.UNREADABLE, "Empty path component"),
    ],
)
def test_an_image_that_a_store_did_not_give(error: Exception, kind: ErrorKind, words: str) -> None:
    found = image_error_of(error)
    assert found.kind is kind
    assert words in str(found)
    assert "\n" not in str(found)


def test_a_cause_is_one_short_line() -> None:
    assert cause_of(OSError(NO_BUCKET)) == "no such bucket (ListObjectsV2): The specified bucket does not exist"
    assert cause_of(OSError(DENIED)) == "access denied (HeadObject)"
    assert len(cause_of(OSError("x" * 5000))) == 300
    assert cause_of(OSError("a\n b")) == "a"


def test_what_other_rights_would_change() -> None:
    assert is_denied(OSError(DENIED))
    assert not is_denied(OSError(NO_NETWORK))
