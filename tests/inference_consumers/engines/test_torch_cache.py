import torch

from inference_consumers.engines.torch_cache import CacheShape, TurnCache
from inference_consumers.engines.turn_schedule import BLOCK_TOKENS

SHAPE = CacheShape(layers=2, kv_heads=1, head_dim=4, dtype=torch.float32, device="cpu")


def test_growing_keeps_what_was_computed() -> None:
    """Keys and values of computed tokens are the same behind a growth, in every layer."""
    cache = TurnCache(SHAPE)
    cache.reserve(1, 0)
    for layer in range(2):
        keys, values = cache.layer(layer)
        keys[:, :3], values[:, :3] = layer + 1.0, layer + 5.0
    cache.reserve(BLOCK_TOKENS + 1, 3)
    for layer in range(2):
        keys, values = cache.layer(layer)
        assert keys.shape == (1, 2 * BLOCK_TOKENS, 4)
        assert bool((keys[:, :3] == layer + 1.0).all())
        assert bool((values[:, :3] == layer + 5.0).all())


def test_a_copy_shares_nothing() -> None:
    """Writing to one memory doesn't show in its copy."""
    cache = TurnCache(SHAPE)
    cache.reserve(4, 0)
    cache.layer(1)[0][:] = 1.0
    copy = cache.copied(4)
    cache.layer(1)[0][:] = 2.0
    assert bool((copy.layer(1)[0][:, :4] == 1.0).all())


def test_a_token_costs_what_its_shape_says() -> None:
    """Two layers of keys and values of four floats."""
    assert SHAPE.token_bytes == 2 * 2 * 4 * 4
