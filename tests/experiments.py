"""Measure the README's experiments and mistakes: python tests/experiments.py --help"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from documents import ROOT, make

SORTED = "sampler=sorted(range(len(train_dataset)), key=lambda i: train_dataset[i][1])"
SIGMOIDS = "nn.Linear(784, 1024), nn.Sigmoid(), nn.Linear(1024, 1024), nn.Sigmoid(),"
OTHER_TARGETS = "mnist.targets[torch.randperm(len(images))].tolist()"
# By its name in the README, which has the flags, what each changes: a change of the
# README, or a part of the script and what stands there instead
EXPERIMENTS = {
    "no change": None,
    "--lr 0.03": None,
    "--lr 0.1": None,
    "ReLU": "ReLU",
    "ReLU, --lr 0.1": "ReLU",
    "convolutional net, --lr 0.1": "convolution",
    "momentum": "momentum",
    "Adam": "Adam",
    "Adam, --lr 0.001": "Adam",
    "--batch-size 256": None,
    "sorted by digit": ("shuffle=True", SORTED),
}
MISTAKES = {
    "softmax in the model": ("1024, 10),", "1024, 10), nn.Softmax(dim=1),"),
    "no zero_grad()": ("optimizer.zero_grad()", "pass"),
    "no step()": ("optimizer.step()", "pass"),
    "three layers with sigmoid": ("nn.Linear(28 * 28, 1024),", SIGMOIDS),
    "pixels from 0 to 255": ("images /= 255", "pass"),
    "--lr 1": None,
    "targets of other images": ("mnist.targets.tolist()", OTHER_TARGETS),
}
CHANGES = {**EXPERIMENTS, **MISTAKES}
CURVES = [name for name in EXPERIMENTS if re.search(r"no change|ReLU|0\.1$", name)]


def make_script(name):
    """Return the changed script and its flags."""
    what = CHANGES[name]
    script = make(what) if isinstance(what, str) else make()
    if isinstance(what, tuple):
        old, new = what
        assert script.count(old) == 1, f"not exactly once: {old}"
        script = script.replace(old, new)
    flags = re.search("(--.*)?$", name)
    return script, flags.group().split()


def measure(name, epochs, seed):
    """Return the accuracy in percent and the loss after each epoch, until it is nan."""
    script, flags = make_script(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train_mnist.py")
        path.write_text(script, "utf-8")
        command = [sys.executable, path, "--data-dir", ROOT / "datasets", *flags]
        command += ["--device", "cpu", "--epochs", str(epochs), "--seed", str(seed)]
        # A loss of nan ends a run with status 1, and is a result, too.
        run = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    results = re.findall(r"Accuracy: (.*) %, Eval Loss: (.*),", run.stdout)
    return [(float(accuracy), float(loss)) for accuracy, loss in results]


def span(values):
    return " to ".join(f"{value:.2f}" for value in sorted({min(values), max(values)}))


def plot(curves, path):
    """Draw accuracies by epoch: curves is {name: [percent, ...]}."""
    from matplotlib import pyplot

    _, axes = pyplot.subplots(figsize=(8.2, 4.4), layout="constrained")
    for (name, accuracies), marker in zip(curves.items(), "os^vD"):
        epochs = range(1, len(accuracies) + 1)
        axes.plot(epochs, accuracies, marker=marker, label=name)
    axes.axhspan(92, 93, color="lightgrey", label="about the most for a linear map")
    axes.set(xlabel="epoch", ylabel="accuracy on the test set, in percent")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    pyplot.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--mistakes", action="store_true", help="in place of the rest")
    parser.add_argument(
        "--only", nargs="+", choices=CHANGES, metavar="NAME", help="as in the README"
    )
    parser.add_argument("--plot", metavar="FILE", help="picture of five of them")
    args = parser.parse_args()
    curves = {}
    for name in args.only or (MISTAKES if args.mistakes else EXPERIMENTS):
        runs = [measure(name, args.epochs, seed) for seed in args.seeds]
        first, last = (span([run[at][0] for run in runs]) for at in (0, -1))
        loss = span([run[-1][1] for run in runs])
        print(f"{name}: {first} %, at last {last} %, loss {loss}", flush=True)
        if name in CURVES:
            curves[name] = [accuracy for accuracy, _ in runs[0]]
    if args.plot:
        plot(curves, args.plot)


if __name__ == "__main__":
    main()
