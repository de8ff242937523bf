import numpy as np
import pytest
import torch

from dm_replay.data.classes import class_labels


@pytest.mark.parametrize(
    "labels",
    [
        [3, 0, 3],
        (np.int64(3), 0, np.uint8(3)),
        [torch.tensor(3), 0, 3],
        np.array([3, 0, 3], np.uint64),
        np.array([3, 0, 3], ">i4"),
        np.array([3, 0, 3], ">f8"),
        torch.tensor([3, 0, 3], dtype=torch.int16),
        torch.tensor([3, 0, 3], dtype=torch.uint64),
        torch.tensor([3.0, 0.0, 3.0], dtype=torch.float16),
    ],
)
def test_whole_numbers_of_any_type(labels):
    whole = class_labels(labels)
    assert whole.dtype == torch.int64 and whole.tolist() == [3, 0, 3]


def test_they_are_a_copy():
    for given in (torch.tensor([1, 2]), np.array([1, 2])):
        whole = class_labels(given)
        given[0] = 7
        assert whole.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, -1], "label -1 of image 2 is negative; expected whole numbers from 0"),
        (np.array([0, 2**64 - 1], np.uint64), "label 18446744073709551615 of image 1 is beyond int64"),
        ([0, 2**64], "expected integer labels, got list"),
        ([0.0, 0.25], "label 0.25 of image 1 is not a whole number"),
        ([0.0, float("nan")], "label nan of image 1 is not a whole number"),
        ([1e30], "is not a whole number"),
        ([True, False], "expected integer labels, got bool"),
        (["ant", "bee"], "expected integer labels, got list"),
        (np.array([None, 1]), "expected integer labels, got object"),
        ([1j], "expected integer labels, got complex64"),
    ],
)
def test_anything_else_is_refused_in_one_line(labels, message):
    with pytest.raises(ValueError, match=f"^here: .*{message}") as caught:
        class_labels(labels, "here")
    assert "\n" not in str(caught.value)
