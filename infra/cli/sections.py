"""The sections of `parley.toml`: what isn't here is refused by name (compared with the code by tests/house)."""

from typing import Final

SECTIONS: Final = (
    "cassandra",
    "inference",
    "kafka",
    "local",
    "log",
    "openai",
    "service",
    "simulated",
    "torch",
    "vllm",
)
