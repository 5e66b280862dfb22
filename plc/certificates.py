"""Certificates and keys towards the broker: read strictly, and looked at before a broker does.

What is secret must be private: a key or password that others on the machine may read is refused.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from pipeline.config import Tls
from pipeline.errors import ConfigError

NOT_PRIVATE = 0o026
"""Rights that a secret's file must not give: its group may not write, others not even read."""
FLIGHTS = 4
"""Rounds after which a handshake of two ends in one process is over."""
UNTRUSTED = {
    9: "it is not valid yet; is the clock of this machine right?",
    10: "it has expired; the broker needs a new one, if the clock of this machine is right",
    18: "it signed itself and is not the one in mqtt.broker.tls.ca_file",
    19: "its authority is not the one in mqtt.broker.tls.ca_file",
    20: "its authority is not the one in mqtt.broker.tls.ca_file",
    62: "it is made out to another name; give that one as mqtt.broker.host",
    64: "it is made out to another address; give its name as mqtt.broker.host",
}
"""What to do about a broker's certificate, by OpenSSL's number of the fault."""
ALERTS = {
    "CERTIFICATE_REQUIRED": "it asks for a client certificate: give certificate_file and key_file",
    "HANDSHAKE_FAILURE": "it agrees to no connection; does it ask for a client certificate?",
    "UNKNOWN_CA": "it does not know the authority that signed the client certificate",
    "CERTIFICATE_EXPIRED": "it takes the client certificate for expired",
    "CERTIFICATE_REVOKED": "the client certificate has been revoked",
    "BAD_CERTIFICATE": "it does not accept the client certificate",
}
"""What a broker means by an alert, by the end of OpenSSL's name for it."""


def check_private(path: Path, key: str) -> None:
    """Raises ConfigError for a secret that others may read, or replace; `key` names its place.

    Its group may read it. Raises OSError for a file that is not there.
    """
    mode = path.stat().st_mode & 0o777
    if mode & NOT_PRIVATE:
        raise ConfigError(
            f"{key}: {path} is open to others (mode {mode:03o}); chmod 600 {path}, or 640 where a "
            "group of its own may read it"
        )


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer that trusts the configured authority alone and checks the host name.

    Raises ConfigError for a file that is missing or no use, and for a key that is not private.
    """
    files = (tls.ca_file, tls.certificate_file, tls.key_file)
    missing = [str(file) for file in files if file is not None and not file.is_file()]
    if missing:
        raise ConfigError(f"mqtt.broker.tls: no such file: {', '.join(missing)}")
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise ConfigError(
            f"mqtt.broker.tls.ca_file: not usable as PEM ({error}): {tls.ca_file}"
        ) from error
    _load_own(context, tls)
    return context


def certificate_end(tls: Tls) -> float | None:
    """When the client certificate expires, in seconds since 1970; None where there is none.

    Both ends of a handshake are played here, one as a broker that trusts this very certificate: so
    it passes on dates and purpose alone, by the rules of the library that brokers use. Raises
    ssl.SSLCertVerificationError where it does not pass, ConfigError as `tls_context` does.
    """
    if tls.certificate_file is None:
        return None
    ours, broker = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
    for context in (ours, broker):
        _load_own(context, tls)
    broker.load_verify_locations(tls.certificate_file)
    broker.verify_mode = ssl.CERT_REQUIRED
    broker.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    shown = _shake_hands(ours, broker).getpeercert()
    assert shown is not None, "a broker that asks for a certificate has one after the handshake"
    return ssl.cert_time_to_seconds(str(shown["notAfter"]))


def certificate_fault(tls: Tls) -> str | None:
    """Why no broker will accept the client certificate, whomever it trusts, or None."""
    try:
        certificate_end(tls)
    except ssl.SSLCertVerificationError as error:
        return f"{tls.certificate_file} is no use: {error.verify_message}; it must be replaced"
    except ConfigError as error:
        return str(error)
    return None


def explain_tls(error: ssl.SSLError) -> str:
    """Why there is no encrypted connection, in words for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said, remedy = error.verify_message, UNTRUSTED.get(error.verify_code)
        remedy = remedy or "check mqtt.broker.tls.ca_file and host"
        return f"its certificate is not trusted ({said}): {remedy}"
    reason = error.reason or str(error)
    meaning = ALERTS.get(reason.partition("ALERT_")[2])
    if meaning is not None:
        return f"its TLS refuses the connection: {meaning}"
    return f"TLS failed: {reason}; check port and certificates under mqtt.broker.tls"


def _load_own(context: ssl.SSLContext, tls: Tls) -> None:
    """Give a context the client certificate, where there is one. Raises ConfigError."""
    if tls.certificate_file is None or tls.key_file is None:
        return
    both = f"{tls.certificate_file}, {tls.key_file}"
    try:
        check_private(tls.key_file, "mqtt.broker.tls.key_file")
        context.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"mqtt.broker.tls: the key is not that of {both}") from error
        raise ConfigError(f"mqtt.broker.tls: not usable as PEM ({error}): {both}") from error
    except OSError as error:
        raise ConfigError(f"mqtt.broker.tls: cannot be read ({error}): {both}") from error


def _no_passphrase() -> NoReturn:
    """Asked for by OpenSSL if a key is encrypted; without it the terminal would be asked."""
    raise ConfigError(
        "mqtt.broker.tls.key_file: the key is encrypted, and nobody is there to say the "
        "passphrase; give a key without one, in a file of mode 600"
    )


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """The server's end of a connection between the two."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, True))
    for _ in range(FLIGHTS):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue  # the other end speaks next
    return ends[1]
