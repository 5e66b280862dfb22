"""The last of a disk, and who may still have of it.

Pictures leave it to the verdicts, and the verdicts' own share is told when it is begun: a full disk
then shows at once, and not when the database needs its next block.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reserve:
    """What is to stay free of a disk: so many bytes, or a share of a disk that is small."""

    most_bytes: int
    share: float

    def lack(self, folder: Path) -> str:
        """A sentence where less is free on the disk of `folder`, else nothing; OSError where the
        folder cannot be asked. A file system that states no size has no lack.
        """
        disk = os.statvfs(folder)
        kept = min(self.most_bytes, int(self.share * disk.f_blocks * disk.f_frsize))
        if disk.f_bavail * disk.f_frsize >= kept:
            return ""
        return f"less than {kept / 2**20:.3g} MB are free"


FOR_VERDICTS = Reserve(64 << 20, 0.25)
"""Pictures leave so much."""
LAST = Reserve(4 << 20, 1 / 32)
"""Below this the line is DEGRADED, though verdicts are still written."""
