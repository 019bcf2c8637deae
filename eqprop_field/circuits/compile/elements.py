"""A circuit of expressions as elements of SPICE: capacitors, conductances, and sources where it is not linear."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..netlist import number
from ..scaling import Scaling
from ..timeline import Timeline
from .any_field import ExpressionCircuit
from .expressions import OPERATIONS, Affine, Atom, Scalar

_LONGEST = 1000  # signs of an expression that is written out; ngspice's parser slows down beyond some 2000
_HOLD = 0.01  # of a time constant: how closely the held state follows, and how long before the nudge it stops
_STIFFNESS = 1e6  # of a clamp, in leak conductances: the overshoot is a millionth of the pushing current
_LEAVES = {"state": "s{}", "held": "h{}", "input": "x{}", "target": "y{}", "source": "d{}", "beta": "beta",
           "nudging": "nudging"}  # fmt: skip


def elements(circuit: ExpressionCircuit, scaling: Scaling, time: Timeline) -> Iterator[str]:
    """The lines of a circuit of expressions: states, clamps, sources, and every atom that needs a node.

    An expression that is used once is written out where it is used; another one, and a sum that is an operand, has a
    node that carries its value in the scaling's volts, as a current into 1 ohm. What is linear is a conductance.
    """
    writer = _Writer(circuit, scaling, time)
    for i, (tau, start) in enumerate(zip(circuit.tau.tolist(), circuit.start.tolist(), strict=True)):
        yield f"C{i} s{i} 0 {number(scaling.farad(tau))} ic={number(scaling.volt(start))}"
        yield from writer.sum(f"s{i}", circuit.mu[i], scaling.siemens(1.0), own=i)
    yield from _clamps(circuit, scaling)
    yield from writer.atoms()
    yield from writer.leaves()


class _Writer:
    """Which atoms have nodes, and how the others read."""

    def __init__(self, circuit: ExpressionCircuit, scaling: Scaling, time: Timeline) -> None:
        self._circuit, self._scaling, self._time = circuit, scaling, time
        self._unit = scaling.volt_per_unit
        self._atoms = circuit.table.atoms
        self._texts: dict[int, str] = {}  # of atoms that are written out
        self._nodes: dict[int, str | Scalar] = {}  # what the atoms with nodes of their own are
        self._read: set[int] = set()  # leaves whose voltages are read
        for k, count in _uses(circuit).items():
            atom = self._atoms[k]
            if atom.operation == "copy":
                self._nodes[k] = atom.operands[0]
            elif not atom.is_leaf:
                text = OPERATIONS[atom.operation].spice.format(*map(self._operand, atom.operands))
                once = count == 1 and len(text) <= _LONGEST
                (self._texts if once else self._nodes)[k] = text

    def sum(self, node: str, scalar: Scalar, siemens: float, own: int = -1) -> Iterator[str]:
        """Elements that push a sum, in volts, times `siemens` into a node; a state's own leak is a resistor."""
        constants = np.full(len(self._circuit.schedule), scalar.constant if isinstance(scalar, Affine) else scalar)
        for k, weight in _terms(scalar):
            atom = self._atoms[k]
            if atom.operation == "source":
                constants = constants + weight * self._values(atom)
            elif k in self._texts:
                yield f"B{node}_{k} 0 {node} I={number(siemens * weight * self._unit)}*{self._texts[k]}"
            elif atom.operation == "state" and atom.number == own and weight < 0:
                yield f"R{node} {node} 0 {number(1 / (siemens * -weight))}"
            else:
                name, volts = self._node(k)
                yield f"G{node}_{name} 0 {node} {name} 0 {number(siemens * weight * self._unit / volts)}"
        if constants.any():
            yield f"I{node} 0 {node} {self._time.source((siemens * self._unit * constants).tolist())}"

    def atoms(self) -> Iterator[str]:
        """The atoms with nodes of their own."""
        for k, content in self._nodes.items():
            yield f"Ra{k} a{k} 0 1"
            if isinstance(content, str):
                yield f"Ba{k} 0 a{k} I={content if self._unit == 1 else f'{number(self._unit)}*{content}'}"
            else:
                yield from self.sum(f"a{k}", content, 1.0)

    def leaves(self) -> Iterator[str]:
        """Sources of what is clamped, and the capacitors of the held state; beta is the level's."""
        circuit, scaling, time = self._circuit, self._scaling, self._time
        rows = [window.sample for window in circuit.schedule]
        for what, clamped in (("x", circuit.inputs), ("y", circuit.targets)):
            for k, values in enumerate(scaling.volt(1.0) * clamped[rows].T):
                yield f"V{what}{k} {what}{k} 0 {time.source(values.tolist())}"
        nudged = [float(window.beta != 0) for window in circuit.schedule]
        read = [self._atoms[k] for k in sorted(self._read)]
        if any(atom.operation in ("nudging", "held") for atom in read):
            yield f"Vnudging nudging 0 {time.source(nudged)}"
            yield f"Vhold hold 0 {time.source([1 - on for on in nudged], scaling.second(_HOLD))}"
        for atom in read:
            if atom.operation == "source":
                yield f"Vd{atom.number} d{atom.number} 0 {time.source((self._unit * self._values(atom)).tolist())}"
            elif atom.operation == "held":
                i = atom.number
                farad, volt = scaling.farad(_HOLD * float(circuit.tau[i])), scaling.volt(float(circuit.start[i]))
                yield f"Ch{i} h{i} 0 {number(farad)} ic={number(volt)}"
                yield f"Bh{i} 0 h{i} I={number(scaling.siemens(1.0))}*v(hold)*(v(s{i})-v(h{i}))"

    def _operand(self, scalar: Scalar) -> str:
        if not isinstance(scalar, Affine):
            return f"({number(scalar)})"
        terms = [f"({number(scalar.constant)})"] if scalar.constant else []
        for k, weight in _terms(scalar):
            terms.append(self._read_out(k) if weight == 1 else f"({number(weight)})*{self._read_out(k)}")
        return terms[0] if len(terms) == 1 and "*" not in terms[0] else f"({'+'.join(terms)})"

    def _read_out(self, k: int) -> str:
        """How an atom reads in an expression."""
        atom = self._atoms[k]
        if atom.operation == "source" and np.ptp(values := self._values(atom)) == 0:
            return f"({number(values[0])})"
        if k in self._texts:
            return self._texts[k]
        node, volts = self._node(k)
        return f"v({node})" if volts == 1 else f"(v({node})/{number(volts)})"

    def _node(self, k: int) -> tuple[str, float]:
        """An atom's node, which is read now, and the volts that its value 1 has there."""
        atom = self._atoms[k]
        if not atom.is_leaf:
            return f"a{k}", self._unit
        self._read.add(k)
        volts = 1.0 if atom.operation in ("beta", "nudging") else self._unit
        return _LEAVES[atom.operation].format(atom.number), volts

    def _values(self, source: Atom) -> np.ndarray:
        """A source's value in every window."""
        values = self._circuit.table.sources[source.number]
        return np.array([values[self._circuit.clamped[window.sample]] for window in self._circuit.schedule])


def _uses(circuit: ExpressionCircuit) -> dict[int, int]:
    """How often each atom is written, those that are not left out; in their order."""
    atoms = circuit.table.atoms
    counts = np.zeros(len(atoms), np.int64)
    for scalar in circuit.mu:
        if isinstance(scalar, Affine):
            counts[scalar.atoms] += 1
    for k in range(len(atoms) - 1, -1, -1):
        if counts[k] and not atoms[k].is_leaf:
            template = OPERATIONS[atoms[k].operation].spice if atoms[k].operation != "copy" else "{0}"
            for place, operand in enumerate(atoms[k].operands):
                if isinstance(operand, Affine):
                    counts[operand.atoms] += template.count(f"{{{place}}}")
    return {k: int(counts[k]) for k in np.flatnonzero(counts).tolist()}


def _terms(scalar: Scalar) -> Sequence[tuple[int, float]]:
    if not isinstance(scalar, Affine):
        return ()
    return list(zip(scalar.atoms.tolist(), scalar.weights.tolist(), strict=True))


def _clamps(circuit: ExpressionCircuit, scaling: Scaling) -> Iterator[str]:
    """Stiff walls at the bounds of the states that have any."""
    if circuit.limits is None:
        return
    stiff = number(scaling.siemens(_STIFFNESS))
    for i, (low, high) in enumerate(zip(*(limit.tolist() for limit in circuit.limits), strict=True)):
        walls = [f"min(v(s{i})-{number(scaling.volt(low))},0)"] if low > -np.inf else []
        walls += [f"max(v(s{i})-{number(scaling.volt(high))},0)"] if high < np.inf else []
        if walls:
            yield f"Bc{i} s{i} 0 I={stiff}*({'+'.join(walls)})"
