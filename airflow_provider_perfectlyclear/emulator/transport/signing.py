"""Signed URLs: each allows one thing to be done to one object, until it expires."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from urllib.parse import quote

#: What every signature begins with: a test that finds it in a log has found a signed URL, or a part of one.
MARK = "emulator-signed-"


class Signer:
    """
    Makes and checks signed URLs of the storage origin.

    :param seconds: how long a URL stays valid.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._secret = secrets.token_bytes(32)

    def url(self, base: str, method: str, path: str, *, expired: bool = False) -> str:
        """
        Sign a URL.

        :param base: scheme, host and port of the storage.
        :param method: the one HTTP method that it allows.
        :param path: the object's path, unquoted.
        :param expired: make one that is over already.
        """
        expires = f"{time.time() + (-1 if expired else self.seconds):.3f}"
        return f"{base}{quote(path)}?Expires={expires}&Signature={self._sign(method, path, expires)}"

    def refusal(self, method: str, path: str, query: Mapping[str, str]) -> tuple[str, str] | None:
        """
        Check a request.

        :return: None if it is allowed, else the error code and message that an object store gives with 403.
        """
        expires, signature = query.get("Expires", ""), query.get("Signature", "")
        if not signature:
            return "AccessDenied", "Access Denied"
        if not hmac.compare_digest(signature.encode(), self._sign(method, path, expires).encode()):
            return "SignatureDoesNotMatch", "The signature does not match the request."
        if time.time() >= float(expires):
            return "AccessDenied", "Request has expired"
        return None

    def _sign(self, method: str, path: str, expires: str) -> str:
        message = f"{method}\n{path}\n{expires}".encode()
        return MARK + hmac.new(self._secret, message, hashlib.sha256).hexdigest()
