"""Extensions: files and installed packages that bring fields, rules, activations and levels."""

import dataclasses
import sys
import textwrap

import pytest

from eqprop_field import ACTIVATIONS, RULES, extensions, import_file, load_extensions
from eqprop_field.circuits import LEVELS
from eqprop_field.circuits.pool import work_through
from eqprop_field.learning import register_rule
from eqprop_field.vector_fields import FIELDS

pytestmark = pytest.mark.usefixtures("registered")


def write(path, text):
    path.write_text(textwrap.dedent(text))
    return path


def test_a_file_is_run_once_as_a_module_that_finds_its_neighbours(tmp_path):
    write(tmp_path / "beside_mine.py", "STEP = 2")
    file = write(tmp_path / "mine_of_a_test.py", "import beside_mine\nvalue = beside_mine.STEP + 1")
    module = import_file(file)
    assert (module.value, module.__name__) == (3, "mine_of_a_test")
    assert import_file(file) is module
    assert extensions.imported_files() == [str(file)]


@pytest.mark.parametrize(
    ("name", "text", "about"),
    [
        ("a_broken_one.py", "\n\n1 / 0\n", "line 3: ZeroDivisionError"),
        ("a_wrong_one.py", "x = 1\ny = (\n", "line 2: SyntaxError"),
        ("an_exit.py", "raise SystemExit(3)", "line 1: SystemExit"),
        ("json.py", "", "rename it"),
        ("two-words.py", "", "rename it"),
        ("a_text.txt", "", r"ends in \.py"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_sentence(tmp_path, name, text, about):
    with pytest.raises(ValueError, match=f"{name}.*{about}") as refused:
        import_file(write(tmp_path / name, text))
    assert "\n" not in str(refused.value)
    assert name.partition(".")[0] not in set(sys.modules) - {"json"}


def test_no_file_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        import_file(tmp_path / "nowhere.py")


def install(folder, points):
    """A package `brought` in this folder, with these entry points, on the path."""
    write(
        folder / "brought.py",
        """
        import dataclasses
        from typing import ClassVar
        import eqprop_field as epf
        from eqprop_field.circuits import Behavioural

        class Field(epf.LayeredField):
            pass

        rule = dataclasses.replace(epf.RULES["eqprop"], exact="never")

        @dataclasses.dataclass(frozen=True)
        class Level(Behavioural):
            name: ClassVar[str] = "brought-level"
        """,
    )
    info = folder / "brought-1.0.dist-info"
    info.mkdir()
    write(info / "METADATA", "Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    write(info / "entry_points.txt", "".join(f"[{group}]\n{name} = {where}\n" for group, name, where in points))
    sys.path.insert(0, str(folder))


def test_entry_points_of_installed_packages_are_known(tmp_path):
    points = [
        ("eqprop_field.fields", "brought-field", "brought:Field"),
        ("eqprop_field.rules", "brought-rule", "brought:rule"),
        ("eqprop_field.levels", "brought-level", "brought:Level"),
    ]
    install(tmp_path, points)
    assert load_extensions() == [f"{group}:{name}" for group, name, _ in points]
    assert FIELDS["brought-field"].__name__ == "Field"
    assert RULES["brought-rule"].exact == "never"
    assert LEVELS["brought-level"].__module__ == "brought"


def test_an_entry_point_that_fails_is_left_out_by_name(tmp_path):
    install(
        tmp_path, [("eqprop_field.rules", "broken", "brought:Field"), ("eqprop_field.fields", "gone", "brought:No")]
    )
    with pytest.warns(extensions.ExtensionWarning) as warned:
        assert load_extensions() == []
    messages = [str(warning.message) for warning in warned]
    assert len(messages) == 2
    assert messages[0].startswith("eqprop_field.fields:gone of brought is left out: AttributeError")
    assert messages[1].startswith("eqprop_field.rules:broken of brought is left out: ValueError: cannot register")


def test_other_processes_know_the_names_too(tmp_path):
    write(
        tmp_path / "of_a_campaign.py",
        """
        import dataclasses
        import eqprop_field as epf
        from eqprop_field.circuits.pool import AbstractTask

        epf.ACTIVATIONS["thrice"] = dataclasses.replace(epf.activation("linear"), name="thrice", spice="3*{v}")

        class Task(AbstractTask):
            def __init__(self, rho):
                self.rho = rho  # travels by its name

            def __len__(self):
                return 1

            def __call__(self, index):
                return {"spice": self.rho.spice}

            def describe(self):
                return {}
        """,
    )
    module = import_file(tmp_path / "of_a_campaign.py")
    ((index, row),) = work_through(module.Task(ACTIVATIONS["thrice"]), [0], workers=1)
    assert (index, row) == (0, {"spice": "3*{v}"})


def test_a_notebook_may_define_its_rule_again():
    entry = RULES["eqprop"]
    for _ in range(2):
        assert register_rule(dataclasses.replace(entry), "mine") == entry
    with pytest.raises(ValueError, match="there is a rule 'eqprop' already"):
        register_rule(dataclasses.replace(entry), "eqprop")
