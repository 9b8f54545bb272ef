"""Run as a file: tie this process to its parent, then become the program named by the arguments.

    python -I -S tether.py PARENT_PID PROGRAM [ARGUMENT ...]

The kernel then kills the program when the thread that started it ends, however that happens: a SIGKILLed `parley up`
leaves nothing running. So it must be started from a thread that lives as long as the parent. Linux only; elsewhere the
program runs untied. Imports nothing of Parley: it is on the way of every start.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie, check that the parent didn't die before that, and exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(arguments[0]):
            sys.exit(1)
    os.execv(arguments[1], arguments[1:])  # noqa: S606  # no shell wanted


if __name__ == "__main__":
    main(sys.argv[1:])
