"""Batches of ImageNet's pictures ahead of time, by grain: in order, and taken up mid-epoch."""

import sys

import numpy as np
import pytest

from gradmatch_jax.data.folder import read_folder
from gradmatch_jax.errors import UserError
from gradmatch_jax.grain import stream
from toys import Stream

INPUTS = np.arange(46, dtype=np.uint8).reshape(23, 2)
ORDER = np.random.default_rng(0).permutation(23)[:19]


def test_without_grain_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(UserError, match=r"gradmatch-jax\[grain\]"):
        stream(Stream(INPUTS), ORDER, 4)


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_and_go_on_where_they_stopped(threads):
    pytest.importorskip("grain")
    batches = list(stream(Stream(INPUTS), ORDER, 4, threads=threads))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(batches), INPUTS[ORDER])
    first = stream(Stream(INPUTS), ORDER, 4)
    next(first), next(first)
    again = stream(Stream(INPUTS), ORDER, 4)
    again.set_state(first.get_state())
    np.testing.assert_array_equal(np.concatenate(list(again)), INPUTS[ORDER[8:]])


def test_bad_input_is_told():
    pytest.importorskip("grain")
    with pytest.raises(UserError, match=r"order lie outside 0\.\.22"):
        stream(Stream(INPUTS), [23], 4)
    with pytest.raises(UserError, match="batch_size"):
        stream(Stream(INPUTS), ORDER, 0)


@pytest.mark.thorough
def test_processes_decode_what_the_reader_does(shared_data):
    pytest.importorskip("grain")
    pytest.importorskip("PIL")
    source = read_folder(shared_data / "imagenette-mini", 32).train.inputs
    order = np.random.default_rng(0).permutation(len(source))[:30]
    batches = list(stream(source, order, 8, workers=2))
    np.testing.assert_array_equal(np.concatenate(batches), source.take(order))
