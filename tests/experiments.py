"""Measure the README's experiments: python tests/experiments.py [--help]

Each changes the script by diffs, or sets flags, or both. Fashion-MNIST is downloaded
into datasets/, unless its four files are in datasets/FashionMNIST/raw/.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from readme import ROOT, apply, diffs

DIFFS = diffs()
RELU = DIFFS["Model: ReLU"]
CONVOLUTION = DIFFS["Model: a convolutional net"]
ADAM = DIFFS["Training: Adam"]
FASHION = DIFFS["Data: Fashion-MNIST"]
MOMENTUM = """\
-    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
+    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
"""
SORTED = """\
-    train_loader = DataLoader(train_dataset, batch_size=args.batch_size, shuffle=True)
+    train_dataset.sort(key=lambda sample: sample[1])
+    train_loader = DataLoader(train_dataset, batch_size=args.batch_size)
"""
EXPERIMENTS = {  # diffs and flags, by their names in the README's table
    "the post's settings": ([], ""),
    "`--lr 0.03`": ([], "--lr 0.03"),
    "`--lr 0.1`": ([], "--lr 0.1"),
    "ReLU": ([RELU], ""),
    "ReLU, `--lr 0.1`": ([RELU], "--lr 0.1"),
    "a convolutional net, `--lr 0.1`": ([CONVOLUTION], "--lr 0.1"),
    "SGD with `momentum=0.9`": ([MOMENTUM], ""),
    "Adam": ([ADAM], ""),
    "`--batch-size 256`": ([], "--batch-size 256"),
    "sorted by digit, not shuffled": ([SORTED], ""),
    "Fashion-MNIST": ([FASHION], ""),
    "Fashion-MNIST, ReLU, `--lr 0.1`": ([FASHION, RELU], "--lr 0.1"),
}
CURVES = [
    "the post's settings",
    "`--lr 0.1`",
    "ReLU",
    "ReLU, `--lr 0.1`",
    "a convolutional net, `--lr 0.1`",
]


def measure(name, epochs):
    """Run the changed script; return the accuracy in percent after each epoch."""
    diffs, flags = EXPERIMENTS[name]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train_mnist.py")
        script.write_text(apply(*diffs), "utf-8")
        command = [sys.executable, script, "--data-dir", ROOT / "datasets"]
        command += ["--device", "cpu", "--epochs", str(epochs), *flags.split()]
        output = subprocess.check_output(command, cwd=folder, encoding="utf-8")
    return [float(accuracy) for accuracy in re.findall(r"Accuracy: (.*?) %", output)]


def plot(curves, epochs, path):
    """Draw accuracies by epoch: curves is {name: [percent, ...]}."""
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(8.2, 4.4), layout="constrained")
    for (name, accuracies), marker in zip(curves.items(), "os^vD"):
        axes.plot(epochs, accuracies, marker=marker, label=name.replace("`", ""))
    axes.axhspan(92, 93, color="lightgrey", label="about the most for a linear map")
    axes.set(xlabel="epoch", ylabel="accuracy on the test set, in percent")
    axes.set_xticks(epochs)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    pyplot.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", metavar="WORD", default="", help="in the names")
    parser.add_argument("--plot", metavar="FILE", help="picture of five of them")
    args = parser.parse_args()
    names = [name for name in EXPERIMENTS if args.only in name]
    if not names:
        parser.error(f"--only must be a part of one of {list(EXPERIMENTS)}")
    results = {}
    for name in names:
        results[name] = measure(name, args.epochs)
        print(f"{results[name][-1]:.2f} % {name}", flush=True)
    if args.plot:
        curves = {name: results[name] for name in CURVES if name in results}
        plot(curves, range(1, args.epochs + 1), args.plot)


if __name__ == "__main__":
    main()
