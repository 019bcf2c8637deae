"""What is known to work on each data set, in one place: the command `train` and Python users get the same."""

import dataclasses
import os
from collections.abc import Callable

import jax

from ..costs import Quadratic
from ..datasets import Dataset, digits, fashion, mnist, xor
from ..learning.eqprop import EqProp
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import Nudging
from ..vector_fields import LayeredField
from .settings import Settings


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network, a rule and settings that learn a data set; every choice was made on validation samples.

    The defaults keep clear of the two traps of clipped outputs. An output whose drive is far below 0 does not answer a
    small nudge and never learns again: hence weights a good deal smaller than Glorot's at the start, and a beta that is
    not tiny. A large negative beta lets the network run away: hence a beta well below 1.

    Attributes:
        sizes: neurons per layer, input first.
        settings: of the training loop.
        gain: the initial weights' scale relative to Glorot's; feedback weights are drawn independently.
        beta: the influence parameter of symmetric nudging.
        tol: the residual at which a phase counts as settled.
        max_iterations: when to give up on a phase.
    """

    sizes: tuple[int, ...]
    settings: Settings
    gain: float = 0.25
    beta: float = 0.2
    tol: float = 1e-3
    max_iterations: int = 500

    def field(self) -> LayeredField:
        """The untrained network, drawn from the settings' seed."""
        return LayeredField.create(jax.random.key(self.settings.seed), self.sizes, gain=self.gain)

    def rule(self) -> EqProp:
        """Equilibrium propagation, the plain rule, with symmetric nudging."""
        substrate = Equilibrium(tol=self.tol, max_iterations=self.max_iterations)
        return EqProp(nudging=Nudging.symmetric(self.beta), substrate=substrate, cost=Quadratic())

    def resized(self, sizes: tuple[int, ...]) -> "Recipe":
        """The same for other layers: the output keeps its learning rate, all others have the hidden layers'."""
        first, *hidden = self.settings.learning_rates
        rates = (first, *[(hidden or [first])[-1]] * (len(sizes) - 2))
        return dataclasses.replace(self, sizes=sizes, settings=dataclasses.replace(self.settings, learning_rates=rates))

    def seeded(self, seed: int) -> "Recipe":
        """The same with another seed."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, seed=seed))


_IMAGES = Recipe((784, 512, 10), Settings(epochs=20, batch_size=20, learning_rates=(0.1, 0.3)))

RECIPES = {
    "digits": Recipe((64, 32, 10), Settings(epochs=40, batch_size=20, learning_rates=(0.1, 0.7))),
    "mnist": _IMAGES,
    "fashion": _IMAGES,  # taken over from MNIST, not chosen for it
    "xor": Recipe(
        (2, 16, 2), Settings(epochs=300, batch_size=4, learning_rates=(0.1, 0.5)), gain=0.5, max_iterations=2000
    ),
}


def load_dataset(name: str, data_dir: str | os.PathLike | None = None, *, seed: int = 0) -> Dataset:
    """The data set of a recipe, split by the seed.

    Args:
        name: one of `RECIPES`.
        data_dir: the folder of the files, for mnist and fashion.
        seed: of the split.

    Raises:
        ValueError: for an unknown name.
        DataError: if files are missing or damaged.
    """
    loaders: dict[str, Callable[[], Dataset]] = {
        "digits": lambda: digits(seed),
        "mnist": lambda: mnist(data_dir, seed=seed),
        "fashion": lambda: fashion(data_dir, seed=seed),
        "xor": xor,
    }
    if name not in loaders:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(loaders)}")
    return loaders[name]()
