"""Set-up of online learning: a network with dense synapses, how it is read, and the task that it learns."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._arrays import is_concrete
from ..signals import Task
from ..vector_fields import AbstractGraph, AbstractLeakyIntegrator, AbstractVectorField
from ..vector_fields.leaky import require
from .bptt import check_task, teacher_signal
from .driven import check_drive, check_start, initial_state
from .readout import Readout


def synapses(field: AbstractGraph, biases: bool) -> Float[Array, "neurons sources"]:
    """W = [recurrent, input (, bias)] as one matrix; on a gradient, the gradient's."""
    columns = [field.weights, field.input_weights]
    return jnp.concatenate([*columns, field.biases[:, None]] if biases else columns, axis=1)


def with_synapses(field: AbstractGraph, weights: Float[Array, "neurons sources"]) -> AbstractGraph:
    """The field with these synapses; with its present biases where the matrix has none."""
    n, m = field.n_neurons, field.n_inputs
    biases = weights[:, n + m] if weights.shape[1] > n + m else field.biases
    new = (weights[:, :n], weights[:, n : n + m], biases)
    return eqx.tree_at(lambda f: (f.weights, f.input_weights, f.biases), field, new)


def synapse_mask(field: AbstractGraph, biases: bool) -> Float[Array, "rows sources"]:
    """1 where a neuron has a synapse from a source; one row for all neurons where they have the same."""
    from_inputs = jnp.ones_like(field.input_weights) if field.input_mask is None else field.input_mask
    columns = [field.mask, from_inputs] + [jnp.ones((field.n_neurons, 1))] * biases
    mask = jnp.concatenate([column.astype(field.dtype) for column in columns], axis=1)
    return mask[:1] if is_concrete(mask) and bool(jnp.all(mask == mask[0])) else mask


class OnlineSetup(eqx.Module):
    """A network, how it is read, and the task that it learns. Make one with `OnlineSetup.of`.

    Attributes:
        field: leaky integrators with dense synapses.
        mask: 1 where a neuron has a synapse from a source, as `synapse_mask`.
        readout: the readout, or None where the first neurons are read.
        task: inputs and targets, in the field's precision.
        start: the state at the first sample (batch, neurons).
        teacher_forcing: whether targets are fed back in place of the outputs.
    """

    field: AbstractGraph
    mask: Float[Array, "rows sources"]
    readout: Readout | None
    task: Task
    start: Float[Array, "batch neurons"]
    teacher_forcing: bool = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        field: AbstractVectorField,
        task: Task,
        biases: bool,
        *,
        start: ArrayLike | None,
        teacher_forcing: bool,
        readout: Readout | None,
    ) -> "OnlineSetup":
        """The set-up, checked.

        Args:
            field: leaky integrators whose synapses are dense matrices that can be read and replaced.
            task: inputs and targets.
            biases: whether biases count as synapses.
            start, teacher_forcing, readout: as for `learn_online`.

        Raises:
            ValueError: for a field without such synapses, or a task that does not fit it.
        """
        graph = require(field, AbstractGraph, "online learning")
        require(field, AbstractLeakyIntegrator, "online learning")
        check_task(graph, task, readout)
        check_drive(graph, task.inputs, teacher_signal(task) if teacher_forcing else None)
        return cls(
            field=graph,
            mask=synapse_mask(graph, biases),
            readout=readout,
            task=task.astype(graph.dtype),
            start=initial_state(graph, task.batch, check_start(graph, task.batch, start)),
            teacher_forcing=teacher_forcing,
        )

    @property
    def directly_read(self) -> int:
        """How many neurons are read directly; 0 with a readout of all."""
        return self.field.n_outputs if self.readout is None else 0

    def outputs(self, states: Float[Array, "*any neurons"]) -> Float[Array, "*any outputs"]:
        """The outputs at these states."""
        return states[..., : self.field.n_outputs] if self.readout is None else self.readout(states)

    def presynaptic(
        self, states: Float[Array, "*any neurons"], targets: Float[Array, "*any outputs"]
    ) -> tuple[Float[Array, "*any neurons"], Bool[Array, "*any neurons"]]:
        """The states that synapses read, with known targets in place of the outputs where they are forced.

        Returns:
            These states, and where they are the neurons' own.
        """
        free = jnp.ones(states.shape, bool)
        if not self.teacher_forcing:
            return states, free
        k, known = targets.shape[-1], jnp.isfinite(targets)
        forced = states.at[..., :k].set(jnp.where(known, targets, states[..., :k]))
        return forced, free.at[..., :k].set(~known)

    def state_errors(self, errors: Float[Array, "*any outputs"]) -> Float[Array, "*any neurons"]:
        """dE/dx from the errors of the outputs."""
        if self.readout is not None:
            return self.readout.pull_back(errors)
        padding = (0, self.field.n_neurons - self.field.n_outputs)
        return jnp.pad(errors, [(0, 0)] * (errors.ndim - 1) + [padding])
