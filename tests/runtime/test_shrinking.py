import sys
import warnings

import pytest
import torch

from dm_replay.runtime.engine import Engine, halving, is_out_of_memory, within_memory

CPU = torch.device("cpu")
ENGINE = Engine(CPU, torch.float32, False, chunk=4096)


def fits(most, error=None):
    def work(engine):
        if max(engine.chunk, engine.gradient_chunk) > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory.")
        return "done"

    return work


def test_images_at_a_time_are_halved_until_they_fit_with_one_warning():
    with pytest.warns(UserWarning, match="cpu has too little memory for 200 images at a time: it takes 25") as caught:
        engine, result = within_memory(ENGINE, 200, fits(30))
    assert (engine.chunk, engine.gradient_chunk, result) == (25, 25, "done") and len(caught) == 1


def test_what_fits_is_left_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert within_memory(ENGINE, 200, fits(sys.maxsize)) == (ENGINE, "done")


def test_one_image_at_a_time_is_the_least():
    tried = []
    with pytest.raises(torch.OutOfMemoryError):
        within_memory(ENGINE, 8, lambda engine: tried.append(engine.chunk) or fits(0)(engine))
    assert tried == [4096, 4, 2, 1]


def test_other_errors_are_raised_at_once():
    with pytest.raises(RuntimeError, match="shape"):
        within_memory(ENGINE, 200, fits(0, RuntimeError("shape mismatch")))


def test_halving_counts():
    def work(count):
        if count > 3:
            raise torch.OutOfMemoryError
        return count

    with pytest.warns(UserWarning, match="for 13 networks at a time: it takes 3"):
        assert halving(13, work, CPU) == (3, 3)


def test_a_failed_allocation_of_the_cpu_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape mismatch")) and not is_out_of_memory(ValueError("out of memory"))
