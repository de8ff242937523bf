"""The side of Avalanche: plugin, storage policy, metrics."""
