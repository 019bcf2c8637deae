"""The benchmark of kernel networks: what it times is the gradient, and its memory grows less than the sequence."""

from eqprop_field.benchmarks import sequences


def test_every_line_is_measured():
    found = {line.name: line for line in sequences(2, sizes=(2, 8), lengths=(100, 10_000))}
    assert len(found) == 7
    assert all(0 < line.low <= line.ratio <= line.high for line in found.values())
    short, long = (
        found[f"gradient over {samples:,} samples, 8 units: memory beside the signals"] for samples in (100, 10_000)
    )
    assert long.ratio < 100 * short.ratio
