"""How a lack of memory shows itself."""

import torch

__all__ = ["is_out_of_memory"]

# Of accelerators without an error class of their own, and of the CPU's allocator.
SIGNS = ("out of memory", "DefaultCPUAllocator")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that an allocation failed, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
