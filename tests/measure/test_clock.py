"""Work and compilation are told apart."""

import time

import jax
import jax.numpy as jnp
import pytest

from gradmatch_jax.measure.clock import Times, compile_seconds, lap


def slow_to_trace(x):
    time.sleep(0.1)
    return x + 1


def test_compilation_is_not_work():
    x = jnp.ones(3)
    f = jax.jit(slow_to_trace)
    with lap() as read:
        jax.block_until_ready(f(x))
        time.sleep(0.2)
    spent = read()
    assert spent.compile >= 0.1
    assert spent.work == pytest.approx(0.2, abs=0.15)


def test_a_second_call_compiles_nothing():
    x = jnp.ones(3)
    f = jax.jit(lambda x: x * 3)
    f(x)
    with compile_seconds() as read:
        f(x)
    assert read() == 0.0


def test_nested_jits_are_counted_once():
    """Tracing an outer function traces the inner ones: the time must not be counted twice."""
    inner = jax.jit(slow_to_trace)
    middle = jax.jit(lambda x: inner(x) * 2)
    outer = jax.jit(lambda x: middle(x) * 2)
    x = jnp.ones(3)
    with lap() as read:
        jax.block_until_ready(outer(x))
        time.sleep(0.3)
    assert read().work >= 0.29


def test_work_and_compile_add_up_to_the_wall():
    start = time.perf_counter()
    with lap() as read:
        jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones(4)).block_until_ready()
        spent = read()
    wall = time.perf_counter() - start
    assert 0 < spent.work + spent.compile <= wall


def test_the_listener_leaves_with_the_block():
    with compile_seconds() as read:
        pass
    jax.jit(lambda x: x * 5)(jnp.ones(2))
    assert read() == 0.0


def test_the_listener_leaves_with_an_error():
    reads = []

    def fails():
        with compile_seconds() as read:
            reads.append(read)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    jax.jit(lambda x: x * 7)(jnp.ones(2))
    assert reads[0]() == 0.0


def test_times_start_at_zero():
    assert Times() == (0.0, 0.0, 0.0)
