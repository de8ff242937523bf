"""Damaged files, as a disk makes them."""


def with_bit_flipped(content, bit):
    """The bytes with one bit, counted from the first, the other way round."""
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return damaged
