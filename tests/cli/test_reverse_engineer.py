"""`reverse-engineer`: the table from real runs, gone on with where it stopped."""

import json

import pytest

SMALL = ("--units", "LNL", "--sizes", 2, "--seeds", 2, "--rules", "lbfgs,lm")


def test_the_table_is_filled_and_gone_on_with(run, tmp_path):
    folder = tmp_path / "o"
    said = run("reverse-engineer", *SMALL, "--out", folder, "--json")
    assert said.code == 0
    rows = said.json["rows"]
    assert [(r["unit"], r["size"], r["rule"], r["seed"]) for r in rows] == [
        ("LNL", 2, rule, seed) for rule in ("lbfgs", "lm") for seed in (0, 1)
    ]
    assert all(r["nrmse"] <= 5e-3 for r in rows if r["rule"] == "lbfgs")
    assert {path.name for path in folder.iterdir()} == set(said.json["files"])
    assert said.json["unsolved"] == []
    kept = (folder / "runs.json").read_text(encoding="utf-8")
    assert run("reverse-engineer", *SMALL, "--out", folder).code == 2
    cut = json.loads(kept)
    del cut["rows"][1]
    cut["rows"][0]["seconds"] = 12345.0
    (folder / "runs.json").write_text(json.dumps(cut), encoding="utf-8")
    again = run("reverse-engineer", *SMALL, "--resume", "--out", folder, "--json").json["rows"]
    assert again[0]["seconds"] == 12345.0 and len(again) == 4
    assert {(r["rule"], r["seed"]): r["nrmse"] for r in again} == {(r["rule"], r["seed"]): r["nrmse"] for r in rows}
    other = run("reverse-engineer", *SMALL, "--seconds", 3, "--resume", "--out", folder)
    assert other.code == 2 and "give the same nrmse and seconds" in other.err
    del cut["rows"][0]["seconds"]
    for wrong in ("[]", json.dumps(cut)):
        (folder / "runs.json").write_text(wrong, encoding="utf-8")
        assert "is no list of runs" in run("reverse-engineer", *SMALL, "--resume", "--out", folder).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--units", "LNLX"), "choose from L, LNL, AIF, SoftMax, LSTM"),
        (("--rules", "guess"), "choose from backward, best_of, extended"),
        (("--seeds", 0), "give a whole number of at least 1"),
        (("--sizes", "0"), "give numbers of at least 1"),
        (("--nrmse", 0), "above 0"),
        (("--seed", -1), "give a whole number"),
    ],
)
def test_what_cannot_be_run_is_refused(run, tmp_path, arguments, told):
    said = run("reverse-engineer", *arguments, "--out", tmp_path / "o")
    assert said.code == 2 and told in said.err
    assert not (tmp_path / "o").exists()
