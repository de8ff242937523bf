"""Numbers to bytes and back, against exact integers."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import smooth

from dm_replay import Dct, ImageSet
from dm_replay.condensed.entropy import (
    FINEST,
    WIDEST,
    Plan,
    Prices,
    Reader,
    Writer,
    frequencies,
    largest,
    mean_bits,
)

TABLES = range(FINEST, WIDEST + 1)
OTHERS = (-16, -9, -1, 0, 3, 8, 20, 33)  # tables of different width, small enough to draw many of
FIXED = [(30, 8), (20, 0), (50, -9)], [5, -7, 0, 12, *[3, -1] * 13, *[0, 1, 0, -1] * 5, *[0] * 49, 255]


def code_of(numbers, runs):
    writer = Writer()
    writer.add(np.array(numbers, dtype=np.int32), Plan.of(runs))
    return writer.close()


@st.composite
def coded(draw):
    """Runs of random tables, and numbers that they hold: any, small ones, or only zeros."""
    runs = draw(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(OTHERS)), max_size=5))
    most = draw(st.sampled_from([0, 1, 3, 10**6]))
    tables = [table for count, table in runs for _ in range(count)]
    reach = [min(most, largest(table)) for table in tables]
    return runs, [draw(st.integers(-limit, limit)) for limit in reach]


@given(coded())
@settings(max_examples=300, deadline=None)
def test_any_numbers_come_back_in_no_more_bytes_than_their_frequencies_say(case):
    runs, numbers = case
    code = code_of(numbers, runs)
    if numbers:
        assert Reader(code).take(Plan.of([run for run in runs if run[0]])).tolist() == numbers
    tables = [table for count, table in runs for _ in range(count)]
    bits = sum(exact_bits(number, table) for number, table in zip(numbers, tables, strict=True))
    assert len(code) <= bits / 8 + 1.01  # a number's frequency is one unit of 2^24 lower or higher than the table's


def exact_bits(number, table):
    own = frequencies(table)
    return -log2(Fraction(int(own[number + largest(table)]), int(own.sum())))


def test_large_numbers_of_every_table_come_back():
    for table in TABLES:
        numbers = [largest(table), 0, -largest(table), 1, -1]
        assert Reader(code_of(numbers, [(5, table)])).take(Plan.of([(5, table)])).tolist() == numbers


def test_zeros_take_a_byte_where_they_are_likely_and_nothing_takes_none():
    assert len(code_of([0] * 20, [(20, -16)])) == 1 and code_of([], []) == b""


def test_an_image_written_in_parts_is_read_in_parts():
    writer, plans = Writer(), [Plan.of([(2, 4)]), Plan.of([(3, -9), (1, 20)])]
    parts = [np.array([1, -5], dtype=np.int32), np.array([0, 0, 1, 77], dtype=np.int32)]
    for part, plan in zip(parts, plans, strict=True):
        writer.add(part, plan)
    reader = Reader(writer.close())
    assert [reader.take(plan).tolist() for plan in plans] == [part.tolist() for part in parts]


def test_the_tables_are_those_of_every_other_machine():
    digest = hashlib.sha256()
    for table in TABLES:
        digest.update(frequencies(table).astype("<i8").tobytes())
    assert digest.hexdigest() == "b78e576fe9d4c82038c38507c16383b3f3fa633b584ac055559427f0a58d6b10"
    assert code_of(FIXED[1], FIXED[0]).hex() == "d7424111926e6e767bfd31e848bff07a5db6ae360857db95"


def test_no_frequency_is_so_near_a_half_that_another_library_could_round_it_otherwise():
    """Their formula has a relative error of some 1e-14 at most: the exponent, up to 15 and once rounded, sets it."""
    for table in TABLES:
        width = 2 ** (table / 4)
        magnitude = np.arange(largest(table) + 1)
        share = 0.5 * (np.exp(-(magnitude - 0.5) / width) - np.exp(-(magnitude + 0.5) / width))
        share[0] = 1 - np.exp(-0.5 / width)
        wanted = share * 2.0**24
        rounded = wanted > 0.25  # others are below one half for certain, and become 1
        off = np.abs(wanted - np.floor(wanted) - 0.5)[rounded]
        assert (off > 1e-11 * wanted[rounded]).all()
        own = frequencies(table)[largest(table) :]
        assert (np.abs(own - np.maximum(wanted, 1)) < 0.5 + 1e-6).all() and (own >= 1).all()
        assert np.array_equal(own, frequencies(table)[largest(table) :: -1])


def test_estimated_bits_are_those_of_the_frequencies():
    for table in TABLES:
        numbers = torch.arange(1, min(largest(table), int(10 * 2 ** (table / 4)) + 1) + 1).float()
        prices = Prices.of(torch.full((len(numbers),), table))
        own = frequencies(table)
        exact = -np.log2(own[largest(table) :] / own.sum())
        assert float(prices.zero[0]) == pytest.approx(exact[0], abs=0.03)
        estimated, exact = prices.bits(numbers).numpy(), exact[1 : len(numbers) + 1]
        assert (np.abs(estimated - exact)[exact < 18] < 0.06).all() and (estimated <= 24).all()
        share = own / own.sum()
        assert mean_bits(table) == pytest.approx(-(share * np.log2(share)).sum())
    assert Prices.of(torch.tensor(list(TABLES))).largest.tolist() == [largest(table) for table in TABLES]


def test_other_bytes_give_numbers_that_the_tables_hold_or_one_error():
    runs, draw, refused = [(40, 8), (300, 0), (500, -9)], np.random.default_rng(0), 0
    plan, limit = Plan.of(runs), np.repeat([largest(table) for _, table in runs], [count for count, _ in runs])
    for code in [b"", b"\xff" * 60, *(draw.bytes(draw.integers(0, 120)) for _ in range(2_000))]:
        try:
            assert (np.abs(Reader(code).take(plan)) <= limit).all()
        except ValueError as error:
            assert str(error) == "the code of an image is damaged"
            refused += 1
    assert 0 < refused < 1_000


OTHER_PROCESS = """
import sys, torch  # and no codec: the file says which
from dm_replay import ImageSet
torch.set_num_threads(int(sys.argv[2]))
held = ImageSet.load(sys.argv[1])
print((held.values / held.codec.step).round().int().flatten().tolist())
"""


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_another_process_reads_the_same_numbers(capability, tmp_path):
    images, labels = smooth({0: 4, 1: 4}, shape=(3, 32, 32))
    held = ImageSet.from_images((images - 0.5) * 4, labels, Dct())
    held.save(tmp_path / "set.pt")
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "set.pt"), "2"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.strip() == str((held.values / held.codec.step).round().int().flatten().tolist())
