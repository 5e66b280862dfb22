"""What `--since` may say, as a wall time."""

from __future__ import annotations

import re
from datetime import datetime

from pipeline.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"(?P<count>\d{1,9})(?P<unit>[smhd])", re.ASCII)
_NS = 1_000_000_000


def parse_since(text: str, now_wall_ns: int) -> int:
    """`8h`, `2d`, `30m`, `45s` before now, or an ISO time, as nanoseconds since 1970, UTC.

    An ISO time without an offset is local. Raises ConfigError, also for a time in the future.
    """
    age = _AGE.fullmatch(text.strip())
    if age:
        return max(0, now_wall_ns - int(age["count"]) * _SECONDS[age["unit"]] * _NS)
    try:
        moment = datetime.fromisoformat(text.strip()).astimezone()
        wall_ns = int(moment.timestamp()) * _NS + moment.microsecond * 1000
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"--since {text}: expected an age such as 30m, 8h or 2d, or a time such as "
            "2026-11-22T06:00"
        ) from error
    if wall_ns > now_wall_ns:
        raise ConfigError(f"--since {text}: this time lies in the future")
    return max(0, wall_ns)
