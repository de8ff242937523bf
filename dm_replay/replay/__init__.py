"""The memory of a stream and the mini-batches made from it; knows no Avalanche."""
