"""What is known to work on each data set, in one place: the command `train` and Python users get the same."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax

from ..activations import activation
from ..costs import named_cost
from ..datasets import Dataset, cifar10, digits, fashion, mnist, read_dataset, xor
from ..learning.base import AbstractLearningRule
from ..learning.catalogue import named_rules
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.euler import EulerSteps
from ..substrates.nudging import Nudging
from ..substrates.solvers import Sweeps
from ..vector_fields import AbstractNeuralNetwork, AbstractVectorField, draw_network
from .settings import Settings
from .symmetry_repair import SymmetryRepair


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network, a rule and settings that learn a data set; every choice was made on validation samples.

    Plain equilibrium propagation begins with symmetric weights, which are free from then on; with feature maps, with
    any, which Kolen-Pollack makes symmetric, and with linear outputs. AEP is exact for any weights; it learns best with
    no state clipped and the matching loss, a smoothed hinge.

    Attributes:
        data: the data set.
        sizes: neurons per layer, input first.
        convolutions: (channels, kernel width, pooling width) of layers of feature maps behind the input, an image.
        settings: of the training loop.
        rule: the learning rule's name, as in `learning.catalogue.RULES`.
        gain: the initial weights' scale relative to Glorot's.
        symmetry: c of the initial feedback weights, c W^T + sqrt(1 - c^2) R; they learn on their own from there.
        beta: the influence parameter.
        nudging: to one side or to both, for rules whose name or method does not say it.
        cost: C, as `named_cost` has them.
        weight_decay: lambda of (lambda / 2) ||theta||^2.
        projected: whether hidden states are clipped, where the activation clips.
        free_outputs: whether the output neurons are linear even so.
        tol: the residual at which a phase counts as settled.
        max_iterations: when to give up on a phase.
        activation: the name of the firing rate.
        feedback_gain: g, the strength of the feedback.
        euler_steps: of a free and of a nudged phase, of length 0.5, in place of sweeps: equation 77 of Scellier et al.
            2018. A phase that is not at rest after them has not settled.
    """

    data: str
    sizes: tuple[int, ...]
    settings: Settings
    rule: str = "eqprop"
    gain: float = 0.25
    symmetry: float = 0.0
    beta: float = 0.2
    nudging: Literal["one-sided", "symmetric"] = "symmetric"
    cost: str = "quadratic"
    weight_decay: float = 0.0
    convolutions: tuple[tuple[int, int, int], ...] = ()
    projected: bool = True
    free_outputs: bool = False
    tol: float = 1e-3
    max_iterations: int = 500
    activation: str = "hard_sigmoid"
    feedback_gain: float = 1.0
    euler_steps: tuple[int, int] | None = None

    def field(self) -> AbstractVectorField:
        """The untrained network, drawn from the settings' seed.

        Raises:
            ValueError: for a recipe without layers, see `fitted_to`, and for what makes no network.
        """
        if not self.sizes:
            raise ValueError(f"the recipe for {self.data} has no layers before it has seen its samples: use fitted_to")
        key = jax.random.key(self.settings.seed)
        options = {
            "activation": activation(self.activation),
            "gain": self.gain,
            "symmetry": self.symmetry,
            "projected": self.projected and activation(self.activation).is_projection,
            "free_outputs": self.free_outputs,
            "feedback_gain": self.feedback_gain,
        }
        return draw_network(key, self.sizes, convolutions=self.convolutions, **options)

    def learning_rule(self, substrate: AbstractSubstrate | None = None) -> AbstractLearningRule:
        """The rule, on this substrate; the recipe's own by default, see `substrate`.

        Raises:
            ValueError: for a rule that is not known, or a beta without meaning.
        """
        nudging = (Nudging.symmetric if self.nudging == "symmetric" else Nudging.one_sided)(self.beta)
        cost = named_cost(self.cost, activation(self.activation))
        if self.weight_decay:
            cost = dataclasses.replace(cost, weight_decay=self.weight_decay)
        return named_rules((self.rule,), nudging, substrate or self.substrate, cost)[self.rule]

    @property
    def substrate(self) -> AbstractSubstrate:
        """`Equilibrium`, or `EulerSteps` where the recipe has these, with its tolerance."""
        if self.euler_steps is None:
            return Equilibrium(tol=self.tol, solver=Sweeps(self.max_iterations))
        free, nudged = self.euler_steps
        return EulerSteps(free, nudged, tol=self.tol)

    def fitted_to(self, dataset: Dataset) -> "Recipe":
        """The same with layers for these samples, where it has none: inputs, 64 hidden neurons and the outputs.

        Targets that are no classes get the quadratic cost and clipped states.
        """
        if self.sizes:
            return self
        _, outputs = dataset.train.y.shape
        sizes = (dataset.train.x.shape[1], _HIDDEN, outputs)
        if dataset.classes:
            return dataclasses.replace(self, sizes=sizes)
        return dataclasses.replace(self, sizes=sizes, cost="quadratic", projected=True)

    def continued(self, field: AbstractVectorField) -> "Recipe":
        """The same for a network that is there already, of any field: with its activation; and where it has not as many
        layers as there are learning rates, with the output's for all.
        """
        rates = self.settings.learning_rates
        settings = dataclasses.replace(
            self.settings, learning_rates=rates if len(rates) == len(field.layers()) else rates[:1]
        )
        rho = field.activation.name if isinstance(field, AbstractNeuralNetwork) else self.activation
        return dataclasses.replace(self, sizes=tuple(getattr(field, "sizes", ())), activation=rho, settings=settings)

    def changed(self, **options: Any) -> "Recipe":
        """The same with other values of its attributes, or of its settings'; None leaves one as it is.

        For other `sizes` or `convolutions` the output keeps its learning rate, and all others have the last hidden
        layer's, unless `learning_rates` are among the options.

        Raises:
            ValueError: for what is neither an attribute of recipes nor of settings, and for values without meaning.
        """
        values = {name: value for name, value in options.items() if value is not None}
        ours, of_settings = ({part.name for part in dataclasses.fields(kind)} for kind in (Recipe, Settings))
        if unknown := values.keys() - ours - of_settings:
            raise ValueError(f"a recipe has no {min(unknown)!r}: its settings have {', '.join(sorted(of_settings))}")
        if {"sizes", "convolutions"} & values.keys():
            layers = [*values.get("sizes", self.sizes)[2:], *values.get("convolutions", self.convolutions)]
            first, *hidden = self.settings.learning_rates
            values.setdefault("learning_rates", (first, *[(hidden or [first])[-1]] * len(layers)))
        settings = {name: values.pop(name) for name in of_settings & values.keys()}
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, **settings), **values)

    def summary(self) -> dict[str, Any]:
        """The recipe as a JSON object, less the settings, which a `TrainingRun` holds."""
        named = {part.name: getattr(self, part.name) for part in dataclasses.fields(self) if part.name != "settings"}
        return named | {"sizes": list(self.sizes)}


_MNIST = Recipe(
    "mnist",
    (784, 512, 10),
    Settings(epochs=40, learning_rates=(0.04, 0.4), input_noise=0.25),
    gain=0.5,
    symmetry=1.0,
    beta=0.5,
    weight_decay=1e-4,
    tol=3e-3,
    max_iterations=100,
)
_CNN = Recipe(
    "mnist",
    (784, 10),
    Settings(
        epochs=15,
        learning_rates=(0.1, 0.3, 1.0),
        input_noise=0.1,
        repair=SymmetryRepair("kolen_pollack", decay=1e-4),
    ),
    convolutions=((32, 5, 2), (64, 5, 2)),
    gain=0.5,
    beta=0.25,
    cost="matching",
    free_outputs=True,
    tol=3e-3,
    max_iterations=60,
)

_TWO = dataclasses.replace(
    _MNIST,
    sizes=(784, 512, 512, 10),
    settings=Settings(epochs=30, learning_rates=(0.02, 0.1, 0.4), input_noise=0.2),
    beta=0.3,
    max_iterations=60,
)
_TWO_AEP = Recipe(
    "mnist",
    (784, 512, 512, 10),
    Settings(epochs=30, learning_rates=(0.1, 0.8, 1.0), input_noise=0.15),
    rule="aep",
    gain=0.5,
    cost="matching",
    weight_decay=1.5e-4,
    projected=False,
    max_iterations=60,
)
_CNN_AEP = dataclasses.replace(
    _CNN,
    settings=Settings(epochs=14, learning_rates=(0.05, 0.15, 0.5), input_noise=0.1),
    rule="aep",
    symmetry=1.0,
    beta=0.2,
    weight_decay=1.5e-4,
    projected=False,
    free_outputs=False,
)

# Scellier et al. 2018, appendix C: weights drawn as Glorot's and feedback on its own, the hard sigmoid, states clipped,
# one nudge, minibatches of 20, a rate a layer; nothing else. Table 1 with its numbers is not in our copy: rates, steps
# and beta were chosen on validation samples. Of pooling it says nothing; without, feature maps take hours an epoch. The
# ReLU of its feature maps is clipped at 1, as it says of all states: unbounded, states soon no longer settle.
_PAPER = Recipe(
    "mnist",
    (784, 512, 512, 10),
    Settings(epochs=30, learning_rates=(0.02, 0.1, 0.4), schedule="constant"),
    gain=1.0,
    beta=0.5,
    nudging="one-sided",
    tol=3e-3,
    euler_steps=(80, 40),
)

_HIDDEN = 64

RECIPES = {
    "digits": Recipe("digits", (64, 32, 10), Settings(epochs=40, learning_rates=(0.1, 0.7))),
    "xor": Recipe(
        "xor", (2, 16, 2), Settings(epochs=300, batch_size=4, learning_rates=(0.1, 0.5)), gain=0.5, max_iterations=2000
    ),
    "mnist-1x512": _MNIST,
    "mnist-2x512": _TWO,
    "mnist-3x512": dataclasses.replace(
        _MNIST,
        sizes=(784, 512, 512, 512, 10),
        settings=Settings(epochs=24, learning_rates=(0.01, 0.03, 0.1, 0.4), input_noise=0.15),
        beta=0.3,
        max_iterations=60,
    ),
    "mnist-2x512-aep": _TWO_AEP,
    "paper-2x512": _PAPER,
    "paper-3x512": dataclasses.replace(
        _PAPER,
        sizes=(784, 512, 512, 512, 10),
        settings=Settings(epochs=30, learning_rates=(0.01, 0.03, 0.1, 0.4), schedule="constant"),
        euler_steps=(120, 60),
    ),
    "paper-cnn": dataclasses.replace(  # at these rates its outputs are silenced: docs/performance.md
        _PAPER,
        sizes=(784, 10),
        convolutions=((32, 5, 2), (64, 5, 2)),
        settings=Settings(epochs=15, learning_rates=(0.02, 0.05, 0.2), schedule="constant"),
        euler_steps=(40, 20),
    ),
    # Weak feedback: as good as feed-forward, so that ten hidden layers settle in few sweeps; AEP is exact all the same.
    "mnist-10x256": Recipe(
        "mnist",
        (784, *[256] * 10, 10),
        Settings(
            epochs=12,
            learning_rates=(0.0003,),
            optimiser="adam",
            input_noise=0.2,
            random_sign=True,
            repair=SymmetryRepair("fixed"),  # Adam would make much of the little that weak feedback has to learn
        ),
        rule="aep",
        nudging="one-sided",
        gain=1.0,
        projected=False,
        free_outputs=True,
        tol=1e-4,
        max_iterations=60,
        activation="tanh",
        feedback_gain=0.01,
    ),
    "mnist-cnn": _CNN,
    "mnist-cnn-aep": _CNN_AEP,
    # Those of MNIST with less noise, chosen on validation samples; docs/performance.md says what was tried.
    "fashion": _TWO.changed(data="fashion", input_noise=0.08),
    "fashion-aep": _TWO_AEP.changed(data="fashion", input_noise=0.08),
    "fashion-cnn": _CNN_AEP.changed(data="fashion", input_noise=0.05),
    "cifar10": dataclasses.replace(  # that of MNIST with more maps, not chosen for it
        _CNN_AEP,
        data="cifar10",
        sizes=(3072, 10),
        convolutions=((64, 5, 2), (128, 5, 2)),
        settings=Settings(epochs=30, learning_rates=(0.05, 0.15, 0.5), input_noise=0.05),
    ),
    # Chosen on the validation samples of four tables (two of make_classification's, wine, breast_cancer).
    "own": Recipe(
        "own",
        (),
        Settings(epochs=60, learning_rates=(0.1, 0.8), input_noise=0.05),
        rule="aep",
        gain=0.5,
        cost="matching",
        weight_decay=1e-4,
        projected=False,
        max_iterations=2000,
    ),
}
_FIRST = {"digits": "digits", "mnist": "mnist-1x512", "fashion": "fashion", "cifar10": "cifar10", "xor": "xor"}
_FILES = (".csv", ".npz")
_OWN = "a .csv or .npz file of your own"


def find_recipe(name: str | None = None, data: str = "digits") -> Recipe:
    """The recipe of that name, or the first one of a data set; for a file of one's own data, `own`.

    Raises:
        ValueError: for an unknown name.
    """
    if own := data.endswith(_FILES):
        name = name or "own"
    if name is None and data not in _FIRST:
        raise ValueError(f"there is no recipe for {data!r}: there are some for {', '.join(_FIRST)}, and for {_OWN}")
    if (name := name or _FIRST[data]) not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return dataclasses.replace(RECIPES[name], data=data) if own else RECIPES[name]


def recipe_for(dataset: Dataset) -> Recipe:
    """The first recipe of the package's data sets; for one's own data `own`, with layers for them."""
    return find_recipe(data=dataset.name) if dataset.name in _FIRST else RECIPES["own"].fitted_to(dataset)


def load_dataset(
    name: str, data_dir: str | os.PathLike | None = None, *, seed: int = 0, labels: Sequence[str] = ()
) -> Dataset:
    """The data set of a recipe, split by the seed.

    Args:
        name: digits, mnist, fashion, cifar10 or xor; or the path of a file of one's own, see `read_dataset`.
        data_dir: the folder of the files, for mnist, fashion and cifar10.
        seed: of the split.
        labels: the columns of one's own file that are to be learnt.

    Raises:
        ValueError: for an unknown name, and for a file that holds no data.
        DataError: if files are missing or damaged.
    """
    if name.endswith(_FILES):
        return read_dataset(name, labels, seed=seed)
    loaders: dict[str, Callable[[], Dataset]] = {
        "digits": lambda: digits(seed),
        "mnist": lambda: mnist(data_dir, seed=seed),
        "fashion": lambda: fashion(data_dir, seed=seed),
        "cifar10": lambda: cifar10(data_dir, seed=seed),
        "xor": xor,
    }
    if name not in loaders:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(loaders)}, or {_OWN}")
    return loaders[name]()
