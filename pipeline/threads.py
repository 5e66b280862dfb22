"""How many cores the libraries of a process may take."""

from __future__ import annotations


def thread_environment(threads: int) -> dict[str, str]:
    """Bounds every library's threads; waiting threads sleep, since the stages share the cores.

    Libraries read it when they are loaded.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
