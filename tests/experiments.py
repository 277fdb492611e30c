"""Measure the README's table of experiments: python tests/experiments.py [--help]

Each row is a change of train_mnist.py, as in "Make it yours", or flags, or both. The
changed script is run from a folder of its own, and its last accuracy is printed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from readme import ROOT, changed, rows, section

# What the first rows of the table are called in the picture
CURVES = (
    "as in the post",
    "--lr 0.1",
    "ReLU",
    "ReLU, --lr 0.1",
    "convolutional, --lr 0.1",
)


def read_table():
    """Return the README's experiments as (change, flags, accuracy)."""
    experiments = []
    for cell, accuracy, _ in rows(section("Change one thing")):
        parts = [part for part in cell.split("<br>") if "`" in part]
        flags = [part.strip("`") for part in parts if part.startswith("`--")]
        change = "<br>".join(part for part in parts if not part.startswith("`--"))
        experiments.append((change, " ".join(flags).split(), accuracy))
    return experiments


def measure(change, flags):
    """Run the changed script; return the accuracy in percent after each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train_mnist.py")
        script.write_text(changed(change), "utf-8")
        command = [sys.executable, script, "--data-dir", ROOT / "datasets", *flags]
        output = subprocess.check_output(command, cwd=folder, text=True)
    return [float(accuracy) for accuracy in re.findall(r"Accuracy: (.*?) %", output)]


def plot(curves, path):
    """Draw accuracies by epoch: curves is {label: [percent, ...]}."""
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(8.2, 4.4), layout="constrained")
    for (label, accuracies), marker in zip(curves.items(), "os^vD"):
        epochs = range(1, len(accuracies) + 1)
        axes.plot(epochs, accuracies, marker=marker, label=label)
    axes.axhspan(92, 93, color="lightgrey", label="about the most for a linear map")
    axes.set(xlabel="epoch", ylabel="accuracy on the test set, in percent")
    axes.set_xticks(range(1, len(accuracies) + 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    pyplot.savefig(path, dpi=100)


def main():
    table = read_table()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", default="10")
    every = range(len(table))
    parser.add_argument("--rows", type=int, nargs="+", default=every, help="from 0 on")
    parser.add_argument("--plot", metavar="FILE", help="picture of the first five rows")
    args = parser.parse_args()
    curves = {}
    for row in args.rows:
        change, flags, _ = table[row]
        accuracies = measure(change, [*flags, "--epochs", args.epochs])
        print(f"{accuracies[-1]:.2f} % {change} {' '.join(flags)}", flush=True)
        if row < len(CURVES):
            curves[CURVES[row]] = accuracies
    if args.plot:
        plot(curves, args.plot)


if __name__ == "__main__":
    main()
