"""JAX primitives that run on the host.

Not ``jax.pure_callback``: that one makes JAX arrays of the operands before it calls. Where an operand is large the copy
is a task for the thread pool of XLA, on one of whose threads the callback waits for it: with one thread for ever, with
two as soon as two callbacks meet. The lowering below hands over NumPy arrays, so nothing in a callback waits for XLA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

__all__ = ["host_primitive"]


def host_primitive(name: str, run: Callable[..., np.ndarray], shape: Callable[..., tuple[int, ...]]) -> Primitive:
    """Make a primitive of a function of NumPy arrays with one result, of the dtype of the first operand.

    ``run(*arrays, **params)`` computes; ``shape(*shapes, **params)`` tells the shape of the result, and raises for
    operands that do not fit, for an exception in `run` would come out of XLA with its message buried.
    """
    primitive = Primitive(name)

    @primitive.def_impl
    def outside_jit(*operands: Any, **params: Any) -> Any:
        return jnp.asarray(run(*map(np.asarray, operands), **params))

    @primitive.def_abstract_eval
    def abstract(*operands: Any, **params: Any) -> Any:
        return operands[0].update(shape=shape(*(o.shape for o in operands), **params), weak_type=False)

    def lower(ctx: Any, *operands: Any, **params: Any) -> Any:
        def callback(*arrays: np.ndarray) -> tuple[np.ndarray]:
            return (run(*arrays, **params),)

        results, _, keep_alive = mlir.emit_python_callback(
            ctx, callback, None, list(operands), ctx.avals_in, ctx.avals_out, has_side_effect=False
        )
        if hasattr(ctx.module_context, "add_keepalive"):
            ctx.module_context.add_keepalive(keep_alive)
        return results

    mlir.register_lowering(primitive, lower)
    return primitive
