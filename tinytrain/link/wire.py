"""A serial port as a stream of bytes."""

from __future__ import annotations

import select
from typing import Any

import serial

from ..errors import LinkError


class SerialWire:
    """A port of pyserial: ``/dev/ttyACM0``, ``COM3``, ``socket://host:port``."""

    def __init__(self, url: str, baud: int = 115200) -> None:
        self.url = url
        options: dict[str, Any] = {} if "://" in url else {"exclusive": True}
        try:
            self._port = serial.serial_for_url(url, baudrate=baud, timeout=0, **options)
        except (serial.SerialException, OSError, ValueError) as error:
            raise LinkError(
                f"cannot open {url}: {error}; check that the board is connected, that no other "
                "program (a serial monitor) holds the port, and that you may read it "
                "(on Linux: group dialout)"
            ) from error

    def read(self, timeout_s: float) -> bytes:
        try:
            if hasattr(self._port, "fileno"):
                if not select.select([self._port.fileno()], [], [], timeout_s)[0]:
                    return b""
                return bytes(self._port.read(65536))
            self._port.timeout = timeout_s
            first = self._port.read(1)
            return bytes(first + self._port.read(self._port.in_waiting))
        except (serial.SerialException, OSError, ValueError) as error:
            raise self._gone(error) from error

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
            self._port.flush()
        except (serial.SerialException, OSError, ValueError) as error:
            raise self._gone(error) from error

    def close(self) -> None:
        self._port.close()

    def _gone(self, error: Exception) -> LinkError:
        return LinkError(
            f"the link {self.url} is gone ({error}); was the board unplugged or reset? "
            "connect it and start again"
        )
