"""`python -m tests.bench [NAME ...]`: every benchmark of this room, each in a process of its own."""

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run those that are named, such as `pipeline`, or all; return how many failed."""
    known = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    wanted = sys.argv[1:] or known
    strangers = [name for name in wanted if name not in known]
    if strangers:
        print(f"no benchmark {strangers[0]}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.bench.bench_{name}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
