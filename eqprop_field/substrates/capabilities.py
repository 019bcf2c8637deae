"""Capabilities: what a learning rule, or a nudge, may need of the substrate that it runs on."""

import enum


class Capability(enum.Enum):
    """What a substrate can do beyond a free phase; `found_in` names substrates that can.

    A substrate declares what it `provides`, a rule and a nudge what they `needs`.
    """

    found_in: str

    def __new__(cls, text: str, found_in: str) -> "Capability":
        member = object.__new__(cls)
        member._value_ = text
        member.found_in = found_in
        return member

    nudged_phases = "nudged phases", "Equilibrium, Trajectory, EulerSteps or NgspiceSubstrate"
    transposed_synapses = (
        "transposed synapses",
        "Equilibrium, Trajectory, EulerSteps or NgspiceSubstrate with nominal behavioural devices",
    )
    oscillating_nudge = (
        "an oscillating nudge",
        "Equilibrium, Trajectory, EulerSteps or NgspiceSubstrate above the transistor level",
    )
    clamped_outputs = (
        "clamped outputs",
        "Equilibrium, Trajectory, EulerSteps or NgspiceSubstrate with nominal behavioural devices",
    )
    complex_states = "complex states", "Equilibrium, Trajectory or EulerSteps"
    relaxation = (
        "relaxation of an auxiliary system",
        "Equilibrium, Trajectory, EulerSteps or NgspiceSubstrate with nominal behavioural devices",
    )
    single_steps = "differentiable single steps", "EulerSteps"
    sensitivities = "sensitivities to its devices", "NgspiceSubstrate"
    jax = "computing under JAX", "Equilibrium, Trajectory or EulerSteps"
