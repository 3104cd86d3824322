"""The certificate of tocsin's own server, read again when its files change."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import structlog

from tocsin.errors import TocsinError

log = structlog.get_logger(__name__)


class ServerTls:
    """TLS 1.2 and later with one certificate. Connections that are there keep the one that they began with."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises TocsinError where they cannot be read, or do not belong together."""
        self.certificate, self._key = certificate, key
        self._stamp = self._stamps()
        try:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as e:
            raise TocsinError(
                f"http.tls_cert_file {certificate} and http.tls_key_file {key} cannot be used: {_said(e)}"
            ) from e

    def refresh(self) -> None:
        """Take the files where they changed; broken ones are refused with a line in the log, and the last stay."""
        stamp = self._stamps()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            # A key that does not belong would be half taken: it is tried on a context of its own.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.certificate, self._key, password=_no_password
            )
            self.context.load_cert_chain(self.certificate, self._key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as e:
            log.error("certificate_refused", file=str(self.certificate), error=_said(e))
            return
        log.info("certificate_reloaded", file=str(self.certificate))

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        marks: list[tuple[int, int, int] | None] = []
        for path in (self.certificate, self._key):
            try:
                found = os.stat(path)
            except OSError:
                marks.append(None)
                continue
            marks.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return tuple(marks)


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("the key has a password; write it without one, readable to its owner alone")


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
