"""Writes the golden bytes of record types that have none yet; what is there is never written again."""

from pathlib import Path

from schemas import codec
from tests.support.samples import samples

if __name__ == "__main__":
    for name, value in samples().items():
        path = Path(__file__).parent / f"{name}.{value.version}.json"
        if not path.exists():
            path.write_bytes(codec.encode(value))
            print(f"wrote {path.name}")
