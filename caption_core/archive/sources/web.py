"""One image from an http(s) address."""

from __future__ import annotations

import logging
import random
import re
import ssl
import time
import zlib
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse, Retry, Timeout
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    LocationValueError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Url, parse_url

from caption_core import __version__
from caption_core.archive.sources.options import WebPolicy
from caption_core.archive.sources.web_connections import TryClock, TryError, open_pools
from caption_core.errors import ImageError
from caption_core.records import ErrorKind

# urllib3 warns of odd headers with the whole address, which may hold a key; the row says what there is to say.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_HEADERS = {
    "User-Agent": f"capstan/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # images don't get smaller, and what was sent is what the byte cap is about
}

_PHRASES = {int(status): status.phrase for status in HTTPStatus}
_WHOLE_ANSWERS = frozenset((200, 203))  # 202 is a promise, and a part (206) that nobody asked for is no image
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_KINDS_BY_STATUS = {
    204: ErrorKind.EMPTY,
    401: ErrorKind.UNREADABLE,
    403: ErrorKind.UNREADABLE,
    404: ErrorKind.NOT_FOUND,
    410: ErrorKind.NOT_FOUND,
}
_PASSING = frozenset((408, 425, 429))  # and all from 500 on

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_LONGEST_ASKED_PAUSE_S = 60.0

_NO_HOST = re.compile(r"[\s\x00-\x1f\x7f]")  # older releases of urllib3 let these through

_PIECE_BYTES = 1 << 16
# An answer that isn't wanted is read up to here, so that its connection can be kept; beyond, a new one is cheaper.
_READ_AWAY_BYTES = 1 << 16

# gzip, and deflate with and without the header that RFC 9110 asks for and some servers leave out.
_WINDOW_BITS = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}


class WebReader:
    """Downloads images; keeps connections open between them. Several threads may read.

    Where private addresses are refused, they are refused at each redirect too, and whatever a host's name leads to.
    Names and passwords in an address are refused. Messages never repeat an address, which may hold a key.

    Args:
        policy: what it may cost, and where it may lead.
        sleep: waits for a number of seconds.
    """

    def __init__(self, policy: WebPolicy, sleep: Callable[[float], None] = time.sleep) -> None:
        self._policy = policy
        self._sleep = sleep
        self._clock = TryClock()
        self._pools = open_pools(policy, self._clock)

    def read(self, url: str, max_bytes: int) -> bytes:
        """Download an image.

        Failures that may pass are tried again, with pauses that grow, vary and respect what the server asks for.

        Raises:
            ImageError: NOT_FOUND, UNREADABLE, EMPTY, TOO_MANY_BYTES, BAD_REFERENCE (no http address), REFUSED (private
                addresses, too many redirects, a password in the address) or DOWNLOAD_FAILED (all else, after retries).
        """
        address = _parsed(url)
        end_s = time.monotonic() + self._policy.deadline_s
        tried = 1
        while isinstance(outcome := self._try(address, max_bytes, end_s - time.monotonic()), TryError):
            pause_s = _pause_s(tried, outcome.retry_after_s)
            is_last = tried > self._policy.retries or time.monotonic() + pause_s >= end_s
            if is_last or not outcome.may_pass:
                times = "once" if tried == 1 else f"{tried} times"
                raise ImageError(ErrorKind.DOWNLOAD_FAILED, f"{outcome} (tried {times})") from outcome
            self._sleep(pause_s)
            tried += 1
        return outcome

    def close(self) -> None:
        """Let go of all connections."""
        self._pools.clear()

    def _try(self, address: Url, max_bytes: int, left_s: float) -> bytes | TryError:
        self._clock.start(min(self._policy.total_s, left_s))
        try:
            return self._download(address, max_bytes)
        except TryError as error:
            return error

    def _download(self, address: Url, max_bytes: int) -> bytes:
        for _ in range(self._policy.max_redirects + 1):
            response = self._get(address)
            try:
                if response.status not in _REDIRECTS:
                    return self._image(response, max_bytes)
                address = _target(address, response)
                self._read_away(response)
            finally:
                response.close()  # of a connection that is read to its end, only the answer
        raise ImageError(ErrorKind.REFUSED, f"more than {self._policy.max_redirects} redirects")

    def _get(self, address: Url) -> BaseHTTPResponse:
        try:
            return self._pools.urlopen(
                "GET",
                address.url,
                headers=_HEADERS,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=Timeout(connect=self._policy.timeout_s, read=self._policy.timeout_s),
            )
        except HTTPError as error:
            raise self._failure(error) from error

    def _image(self, response: BaseHTTPResponse, max_bytes: int) -> bytes:
        if response.status not in _WHOLE_ANSWERS:
            self._read_away(response)
            raise _status_error(response)
        announced = response.length_remaining or 0
        if announced > max_bytes:
            message = f"{announced:,} bytes, more than the {max_bytes:,} allowed"
            raise ImageError(ErrorKind.TOO_MANY_BYTES, message)
        data = _decoded(self._body(response, max_bytes), response.headers.get("Content-Encoding", ""), max_bytes)
        if not data:
            raise ImageError(ErrorKind.EMPTY, "zero bytes")
        return data

    def _body(self, response: BaseHTTPResponse, max_bytes: int) -> bytes:
        """What was sent, as it was sent."""
        data = bytearray()
        try:
            while piece := response.read(_PIECE_BYTES, decode_content=False):
                data += piece
                if len(data) > max_bytes:
                    raise _too_many(max_bytes)
        except HTTPError as error:
            raise self._failure(error) from error
        return bytes(data)

    def _read_away(self, response: BaseHTTPResponse) -> None:
        try:
            response.read(_READ_AWAY_BYTES, decode_content=False)
        except HTTPError:
            return  # the connection is closed then, and nothing else was wanted of it

    def _failure(self, error: HTTPError) -> TryError:
        """What went wrong between the two ends, in words."""
        if isinstance(error, ReadTimeoutError):
            if not self._clock.left_s():
                return TryError(f"it took longer than {self._policy.total_s:g} s", may_pass=True)
            return TryError(f"no data for {self._policy.timeout_s:g} s", may_pass=True)
        cause = error.args[-1] if error.args else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TryError(f"its certificate is not valid: {cause.verify_message}", may_pass=False)
        if isinstance(error, SSLError):
            return TryError(f"TLS failed: {getattr(cause, 'reason', None) or type(cause).__name__}", may_pass=True)
        if isinstance(error, ProtocolError):
            return TryError(f"the answer broke off or is no HTTP ({type(cause).__name__})", may_pass=True)
        return TryError(f"an answer that can't be understood ({type(error).__name__})", may_pass=True)


def _parsed(url: str) -> Url:
    try:
        parsed = parse_url(url)
    except LocationValueError as error:
        raise ImageError(ErrorKind.BAD_REFERENCE, "an address that can't be understood") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or _NO_HOST.search(parsed.host):
        raise ImageError(ErrorKind.BAD_REFERENCE, "not an address of the web")
    if parsed.auth is not None:
        raise ImageError(ErrorKind.REFUSED, "a name or a password in the address")
    return parsed


def _target(address: Url, response: BaseHTTPResponse) -> Url:
    """Where a redirect leads."""
    location = response.headers.get("Location")
    if not location:
        raise TryError(f"{_status(response.status)} without a target", may_pass=False)
    try:
        return _parsed(urljoin(address.url, location))
    except (ImageError, ValueError) as error:
        why = str(error) if isinstance(error, ImageError) else "an address that can't be understood"
        raise ImageError(ErrorKind.REFUSED, f"redirected: {why}") from error


def _status_error(response: BaseHTTPResponse) -> ImageError | TryError:
    status = response.status
    if status in _KINDS_BY_STATUS:
        return ImageError(_KINDS_BY_STATUS[status], _status(status))
    passing = status in _PASSING or status >= 500
    return TryError(_status(status), may_pass=passing, retry_after_s=_retry_after_s(response) if passing else 0.0)


def _status(status: int) -> str:
    # The server's own phrase is its text, not ours.
    return f"HTTP status {status} {_PHRASES.get(status, '')}".rstrip()


def _retry_after_s(response: BaseHTTPResponse) -> float:
    try:
        return max(0.0, Retry().get_retry_after(response) or 0.0)
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _pause_s(tried: int, asked_s: float) -> float:
    """How long to wait after a number of tries: different for each image, so that they don't all come back at once."""
    longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (tried - 1))
    return min(asked_s, _LONGEST_ASKED_PAUSE_S) + random.uniform(longest_s / 2, longest_s)


def _decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """A body without the encoding that some servers use although nobody asked for it."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOW_BITS:
        raise TryError(f"sent in an encoding that wasn't asked for ({name[:20]!r})", may_pass=False)
    for window_bits in _WINDOW_BITS[name]:
        expander = zlib.decompressobj(window_bits)
        try:
            data = expander.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(data) > max_bytes:
            raise _too_many(max_bytes)
        if expander.eof:
            return data
    raise TryError(f"its {name} encoding is damaged or cut off", may_pass=True)


def _too_many(max_bytes: int) -> ImageError:
    return ImageError(ErrorKind.TOO_MANY_BYTES, f"more than the {max_bytes:,} bytes allowed")
