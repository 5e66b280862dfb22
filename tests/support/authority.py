"""A plant's certificates for tests, made by openssl: an authority, a broker, and its clients."""

from __future__ import annotations

import subprocess
from pathlib import Path

CLIENT = "extendedKeyUsage=clientAuth\n"
BROKER = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs certificates into one folder: NAME.pem and NAME.key; its own are `ca`'s."""

    def __init__(self, folder: Path, name: str = "plant") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._openssl("req", "-x509", *NEW_KEY, *self._files("ca"), "-subj", f"/CN={name}")
        self.ca = folder / "ca.pem"

    def sign(self, name: str, extensions: str = CLIENT, days: int = 365) -> tuple[Path, Path]:
        """A certificate made out to `name`, and its key; `days` below 0: it expired so long ago."""
        (self.folder / "extensions").write_text(extensions)
        request = ("-out", "request", "-keyout", f"{name}.key", "-subj", f"/CN={name}")
        self._openssl("req", *NEW_KEY, *request)
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days))
        out = ("-in", "request", "-extfile", "extensions", "-out", f"{name}.pem")
        self._openssl("x509", "-req", *signed, *out)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def tls(self, name: str | None = None) -> dict[str, str]:
        """The section `mqtt.broker.tls` of a client with this certificate, or with none."""
        own = {"ca_file": str(self.ca)}
        if name is not None:
            own |= {
                "certificate_file": str(self.folder / f"{name}.pem"),
                "key_file": str(self.folder / f"{name}.key"),
            }
        return own

    def listener(self, name: str, ca: Path | None = None) -> list[str]:
        """Lines for mosquitto: the listener has this certificate, and asks clients for theirs."""
        return [
            f"certfile {self.folder}/{name}.pem",
            f"keyfile {self.folder}/{name}.key",
            f"cafile {ca or self.ca}",
            "require_certificate true",
        ]

    def _files(self, name: str) -> tuple[str, ...]:
        return ("-keyout", f"{name}.key", "-out", f"{name}.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder)
