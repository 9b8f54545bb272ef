"""What tests of lanes begin with."""

from delivery.hub.lane_index import IndexBounds

BOUNDS = IndexBounds(window_s=60.0, entries=10_000, recent_bytes=100_000)
