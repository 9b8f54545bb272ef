"""docs/asyncapi.json out of the code. Run as a program it prints the page (`make docs`)."""

import json
import sys

from schemas.asyncapi import document


def page() -> str:
    """The whole page."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
