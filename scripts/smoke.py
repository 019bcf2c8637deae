"""What must run with every version of the dependencies that pyproject.toml allows: `make lowest`, `make py313`.

Each solver, optimiser and file format once, at its smallest; an exception ends it.
"""

import contextlib
import io
import pathlib
import tempfile

import jax
import numpy as np

import eqprop_field as epf
from eqprop_field.cli import main
from eqprop_field.training import RECIPES


def solvers() -> None:
    """One network settles to the same state by every method."""
    import diffrax
    import optimistix

    field = epf.LayeredField.create(jax.random.key(0), (3, 4, 2), gain=0.8, activation="tanh")
    x = np.array([[0.3, -0.8, 0.1], [0.9, 0.5, -0.2]])
    free = np.asarray(epf.Equilibrium(tol=1e-10).settle(field, x).state[0])
    others = [epf.Equilibrium(tol=1e-10, solver=optimistix.Newton(1e-12, 1e-12))]
    others += [epf.Trajectory(tol=1e-8, solver=solver) for solver in (diffrax.Tsit5(), diffrax.Kvaerno5())]
    for substrate in others:
        np.testing.assert_allclose(substrate.settle(field, x).state[0], free, atol=1e-6)
    jax.grad(lambda one: epf.Equilibrium(tol=1e-10).settle(one, x).state[0].sum())(field)


def rules() -> None:
    """Rules give finite updates, by simulation, by LU and by GMRES."""
    field = epf.LayeredField.create(jax.random.key(1), (3, 4, 2), gain=0.5)
    x, y = np.full((2, 3), 0.5), np.full((2, 2), 0.25)
    matrix_free = epf.ImplicitGradient(linear=epf.LinearSolve(dense_up_to=0))
    for rule in (epf.EqProp(), epf.AEP(), epf.RecurrentBackpropagation(), epf.ImplicitGradient(), matrix_free):
        estimate = rule.estimate(field, x, y)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(estimate.gradient.tensors())), rule


def training() -> None:
    """Every optimiser learns, and a network is kept and read."""
    recipe = RECIPES["xor"]
    for optimiser in ("sgd", "momentum", "adam"):
        some = recipe.changed(optimiser=optimiser, epochs=2)
        with tempfile.TemporaryDirectory() as folder:
            run = epf.train(some.field(), some.learning_rule(), epf.xor(), some.settings, out=folder, progress=False)
            run.save(folder)
            epf.load_network(pathlib.Path(folder) / "net.safetensors")


def commands() -> None:
    """The command line parses and works."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        np.save(folder / "x.npy", np.full((2, 3), 0.5))
        np.save(folder / "y.npy", np.full((2, 2), 0.25))
        sample = ["--input", folder / "x.npy", "--target", folder / "y.npy"]
        for command in (
            ["--help"],
            ["init", "--sizes", "3,4,2", "--out", folder / "net.safetensors"],
            ["simulate", folder / "net.safetensors", *sample, "--out", folder / "simulate"],
            ["align", "--sizes", "3,4,2", "--symmetry=-1:1:3", "--seeds", 1, "--samples", 2, "--out", folder / "align"],
            ["export", folder / "net.safetensors", *sample, "--out", folder / "net.cir"],
            ["train", "--help"],
            ["rules"],
        ):
            with contextlib.redirect_stdout(io.StringIO()):
                code = main([str(word) for word in command])
            assert code == 0, command


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for part in (solvers, rules, training, commands):
        part()
        print(f"{part.__name__}: fine", flush=True)
