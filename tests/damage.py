"""Damaged files, as a disk or somebody makes them."""


def with_bit_flipped(content, bit):
    """The bytes with one bit, counted from the first, the other way round."""
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return damaged


def places(value, path=()):
    """The paths of all that is in plain data."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in inside:
        yield from places(part, (*path, name))


def changed(value, path, new):
    """Plain data with something else in a place, which may be new in a dictionary."""
    if not path:
        return new
    name, *rest = path
    if isinstance(value, dict):
        return {**value, name: changed(value.get(name), rest, new)}
    return type(value)(changed(part, rest, new) if k == name else part for k, part in enumerate(value))


def without(value, path):
    """Plain data of dictionaries without the entry in a place."""
    name, *rest = path
    if rest:
        return {**value, name: without(value[name], rest)}
    return {other: part for other, part in value.items() if other != name}


def at(value, path):
    """What plain data holds in a place."""
    for name in path:
        value = value[name]
    return value
