"""The shim between us and a program."""

import os
import subprocess
import sys

from infra.local.child import TETHER


def test_a_parent_that_is_gone_already_stops_the_start() -> None:
    """If the parent died before the tie was made, the program is not started."""
    command = [sys.executable, "-I", "-S", str(TETHER), "1", sys.executable, "-c", "print('ran')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_it_becomes_the_program() -> None:
    """Arguments and status are the program's own."""
    script = "import sys; print(sys.argv[1:]); sys.exit(5)"
    command = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), sys.executable, "-c", script, "a b", "c"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "['a b', 'c']\n")
