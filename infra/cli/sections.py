"""The sections of `parley.toml`: what isn't here is refused by name. tests/house/test_docs.py compares it with the code."""

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
