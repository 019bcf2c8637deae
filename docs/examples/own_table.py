"""Your own table: from a CSV file to a trained network, beside logistic regression on the same samples.

The file has a line of names, 20 columns of numbers and one with the class of every row: three overlapping kinds that
scikit-learn makes. `train --data table.csv` does the same from a shell, and `compare` with several rules and seeds.
"""

import csv
import pathlib
import sys
import tempfile

from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

import eqprop_field as epf


def write_table(path, seed=0):
    x, kinds = make_classification(2000, 20, n_informative=8, n_redundant=4, n_classes=3, random_state=seed)
    with open(path, "w", newline="") as file:
        names = [*(f"measure_{i}" for i in range(20)), "kind"]
        csv.writer(file).writerows([names, *([*row, "abc"[kind]] for row, kind in zip(x, kinds, strict=True))])
    return path


def learn(path):
    data = epf.datasets.read_dataset(path, ["kind"])
    recipe = epf.training.recipe_for(data)
    run = epf.train(recipe.field(), recipe.learning_rule(), data, recipe.settings, progress=False)
    return data, run


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/table.csv"))
        data, run = learn(table)
    line = LogisticRegression(max_iter=1000).fit(data.train.x, data.train.labels)
    print(f"a network that learns by asymmetric EqProp: {100 * run.test_error:.1f} % of the test samples wrong")
    print(f"logistic regression on the same samples:    {100 * (1 - line.score(data.test.x, data.test.labels)):.1f} %")
