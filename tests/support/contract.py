"""What the contract says outright, for tests that speak nothing else: ids, and the simulated engine's answers."""


def conversation_of(turn: str) -> str:
    """Whoever holds a turn's id knows its conversation (contract, section 1, "Ids")."""
    return "conv_" + turn.removeprefix("resp_")[:32]


def words(count: int) -> str:
    """What the simulated engine answers to `tokens: count` (contract, section 8)."""
    return " ".join(f"w{number}" for number in range(count))
