"""`eqprop-field train`: trains a network on labelled data."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .arguments import Convolutions, Names, OptionalFile, OptionalSizes, Rates, RecipeNudge, Repair, Scale
from .command import AbstractExperiment, Outcome, Refused
from .numbers import OF_RECIPE, OptionalFloat, OptionalInt, RecipeGain, RecipePositive, RecipeSymmetry, at_least
from .substrate import SubstrateOptions

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..learning import AbstractLearningRule
    from ..training import Recipe
    from ..vector_fields import AbstractVectorField

    Measure = Callable[[AbstractVectorField], dict[str, Any]] | None

_FOLLOWED = 2000  # neurons, whose Jacobian takes 16 MB and some seconds for 100 samples
# The options that are a recipe's or its settings' by the same name.
_OF_RECIPE = (
    "activation", "data", "epochs", "batch_size", "cost", "weight_decay", "optimiser", "schedule",
    "input_noise", "shift", "gain", "symmetry", "feedback_gain", "seed",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractTraining(AbstractExperiment):
    """A command that trains: what is learnt, the network, and the settings of a recipe."""

    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="(default: digits)")] = None
    """What to learn: digits, mnist, fashion, cifar10 or xor; or your own: a .csv file whose first line names its
    columns, or a .npz file of the arrays x and y."""
    label: Names = ()
    """The column of a .csv file with the classes, or those with the targets. (default: the last)"""
    recipe: Annotated[
        str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: the first of the data)")
    ] = None
    """Network, rule and settings in one word, such as mnist-1x512; other options change it."""
    data_dir: Path | None = None
    """The folder with the files of mnist, fashion or cifar10, or the one above it."""
    sizes: OptionalSizes = ()
    """Neurons per layer, input first (default: the recipe's)."""
    activation: Annotated[str | None, tyro.conf.arg(metavar="NAME"), OF_RECIPE] = None
    """Firing rate of the neurons."""
    convolutions: Convolutions = ()
    """Layers of feature maps between the image, the first of --sizes, and the others: channels x kernel / pooling."""
    epochs: OptionalInt = None
    """How many times every sample is seen."""
    batch_size: OptionalInt = None
    """Samples a step."""
    learning_rates: Rates = ()
    """One rate, or one for each layer from the output back."""
    nudge: RecipeNudge = dataclasses.field(default_factory=RecipeNudge)
    random_sign: bool = False
    """With one-sided nudging: by +beta or -beta, at random, in every step."""
    cost: Annotated[str | None, tyro.conf.arg(metavar="NAME"), OF_RECIPE] = None
    """What errors cost, as for `simulate`; matching is the loss whose derivative is the error of the rate."""
    weight_decay: OptionalFloat = None
    """Strength of the quadratic penalty on the parameters."""
    optimiser: Annotated[Literal["sgd", "momentum", "adam"] | None, OF_RECIPE] = None
    """What makes steps of gradients."""
    schedule: Annotated[Literal["constant", "cosine"] | None, OF_RECIPE] = None
    """How the learning rates go on."""
    warm_start: bool = False
    """Start a sample's free phase from where it ended in the epoch before."""
    input_noise: OptionalFloat = None
    """Standard deviation of the noise on the inputs."""
    shift: OptionalInt = None
    """Shift images by up to so many pixels, at random in every step."""
    flip: bool = False
    """Mirror images left to right in half of the cases: for clothes, not for digits."""
    gain: RecipeGain = None
    """Scale of the first weights relative to Glorot's."""
    symmetry: RecipeSymmetry = None
    """Symmetry of the first weights, from -1 to 1: 0 for independent feedback, 1 for W_back = W_fwd^T at the start."""
    feedback_gain: RecipePositive = None
    """Strength of the feedback between layers; well below 1 for deep networks, which then settle in few sweeps."""
    repair: Repair = dataclasses.field(default_factory=Repair)
    substrate: SubstrateOptions = dataclasses.field(default_factory=SubstrateOptions)

    def _recipe(self, **more: Any) -> "Recipe":
        """The recipe, changed by the options that were given."""
        from ..training import find_recipe

        changes = {name: getattr(self, name) for name in _OF_RECIPE} | dataclasses.asdict(self.nudge) | more
        for name in ("sizes", "convolutions", "learning_rates", "random_sign", "warm_start", "flip"):
            changes[name] = getattr(self, name) or None
        if self.repair != Repair():
            changes["repair"] = self.repair.settings()
        return find_recipe(self.recipe, self.data or "digits").changed(**changes)

    def _learnt(self, **more: Any) -> "tuple[Recipe, Dataset]":
        """The recipe, with layers for its data, and these."""
        from ..training import load_dataset

        recipe = self._recipe(**more)
        dataset = load_dataset(recipe.data, self.data_dir, seed=self.seed, labels=self.label)
        return recipe.fitted_to(dataset), dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(AbstractTraining):
    """Trains a network by local learning, and reports the error on samples it has never seen.

    Writes net.safetensors (the best epoch by validation error), checkpoint.safetensors, history.csv, history.jsonl,
    learning_curve.png and summary.json. MNIST and Fashion-MNIST need their four IDX files, CIFAR-10 its binary ones:
    name their folder with --data-dir.

    With --substrate circuit every phase of every sample runs in ngspice, several samples in one transient and several
    simulators side by side; only the update is computed outside.

    Example: eqprop-field train --data digits --sizes 64,32,10 --epochs 20 --out digits
    """

    rule: Annotated[str | None, tyro.conf.arg(metavar="NAME"), OF_RECIPE] = None
    """The learning rule."""
    network: OptionalFile = None
    """A network file to begin with, of any field; one of your own after --import."""
    resume: bool = False
    """Go on from the checkpoint in --out."""
    overwrite: bool = False
    """Start anew where --out holds a run, which is lost."""
    follow: Annotated[int | None, at_least(0), tyro.conf.arg(help_behavior_hint="(default: 100)")] = None
    """Validation samples on which alignment and symmetry are measured after every epoch; 0 for none. Dense: a network
    of more than 2000 neurons is not followed unless --follow asks for it."""
    scale: Scale = dataclasses.field(default_factory=Scale)
    tensorboard: bool = False
    """Write TensorBoard events too (needs the extra [tensorboard])."""

    def run(self) -> Outcome:
        self.choose_precision()
        self.scale.join()

        import jax

        from ..training import train, write_tensorboard
        from .inputs import read_network

        drawn = (self.sizes, self.convolutions, self.gain, self.symmetry, self.activation, self.feedback_gain)
        if self.network is not None and any(option not in ((), None) for option in drawn):
            raise Refused("--network has its own layers and weights: leave away what draws a network, such as --sizes")
        recipe, dataset = self._learnt(rule=self.rule)
        field = recipe.field() if self.network is None else read_network(self.network)
        if self.network is not None:
            recipe = recipe.continued(field).changed(learning_rates=self.learning_rates or None)
        rule = recipe.learning_rule(self.substrate.build(recipe))
        folder = self.folder()
        run = train(
            field,
            rule,
            dataset,
            recipe.settings,
            out=folder,
            resume=self.resume,
            overwrite=self.overwrite,
            devices=self.scale.devices,
            measure=self._measure(rule, dataset),
            progress=sys.stderr.isatty() and jax.process_index() == 0,
        )
        if jax.process_index() > 0:
            return Outcome(run.summary(), [*run.lines(), "written by process 0"], run.failure)
        if self.tensorboard:
            write_tensorboard(folder, run.history)
        own = "equilibrium" if recipe.euler_steps is None else "euler"
        more = {**recipe.summary(), "substrate": self.substrate.substrate or own}
        return Outcome.saved(run, folder, notes=[dataset.described], **more)

    def _measure(self, rule: "AbstractLearningRule", dataset: "Dataset") -> "Measure":
        """What is followed over training; None if nothing is."""
        samples = 100 if self.follow is None else self.follow
        x, y = dataset.validation.x[:samples], dataset.validation.y[:samples]

        def measure(field: "AbstractVectorField") -> dict[str, Any]:
            import jax

            from ..analysis import snapshot
            from ..vector_fields import AbstractNeuralNetwork

            neurons = sum(leaf.size for leaf in jax.tree.leaves(field.initial_state(1)))
            untold = neurons > _FOLLOWED or not isinstance(field, AbstractNeuralNetwork)  # without weights to compare
            return {} if untold and self.follow is None else snapshot(field, rule, x, y).summary()

        return measure if samples and rule.substrate.traceable else None
