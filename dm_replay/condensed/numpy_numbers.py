"""numpy's numbers in files of torch.save, whichever numpy wrote them."""

from typing import Any

import numpy as np

__all__ = ["NUMPY_NUMBERS"]

TYPES = tuple(map(np.dtype, ("bool", "float16", "float32", "float64", "int32", "int64")))


def _maker(module: str):
    """What makes a number of its bytes, under the name that it has in a numpy whose scalars are in ``module``."""
    rebuild: Any = np.float64(0).__reduce__()[0]

    def scalar(dtype, content=b""):
        if dtype not in TYPES:
            raise ValueError(f"a number of type {dtype}")
        return rebuild(dtype, content)

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


# For torch.serialization.safe_globals: the names of before numpy 2 and of since.
NUMPY_NUMBERS = [*map(_maker, ("numpy.core.multiarray", "numpy._core.multiarray")), np.dtype, *map(type, TYPES)]
