"""Measure the README's experiments and mistakes: python tests/experiments.py --help"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from documents import ROOT, changes, make, table

SCRIPT = ROOT.joinpath("train_mnist.py").read_text("utf-8")
SORTED = "sampler=sorted(range(len(train_dataset)), key=lambda i: train_dataset[i][1])"


def names(heading, column):
    return [row[column].replace("`", "") for row in table(heading)]


# As the README's tables have them: changes and flags, or a mistake
EXPERIMENTS = names("| change | accuracy | what it teaches |", 0)
MISTAKES = names("| accuracy | mistake | to see it | symptom and cure |", 1)
CURVES = [name for name in EXPERIMENTS if re.search(r"no change|ReLU|0\.1$", name)]


def make_script(name):
    """Return the changed script and its flags."""
    script, flags = SCRIPT, []
    for part in name.split(", "):
        if part.startswith("--"):
            flags += part.split()
        elif part in changes():
            script = make(script, part)
        elif part == "sorted by digit":
            script = replace(script, "shuffle=True", SORTED)
    for _, mistake, how, _ in table(
        "| accuracy | mistake | to see it | symptom and cure |"
    ):
        codes = re.findall("`(.*?)`", how)
        if mistake.replace("`", "") == name and codes:  # to delete one, or to write two
            script = replace(script, codes[0], codes[1] if codes[1:] else "pass")
    assert script != SCRIPT or flags or name == "no change"
    return script, flags


def replace(script, old, new):
    assert script.count(old) == 1, f"not exactly once: {old}"
    return script.replace(old, new)


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


def plot(pyplot, curves, path):
    """Draw accuracies by epoch: curves is {name: [percent, ...]}."""
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
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--mistakes", action="store_true", help="in place of the rest")
    which.add_argument(
        "--only", nargs="+", choices=EXPERIMENTS + MISTAKES, metavar="NAME"
    )
    which.add_argument(
        "--plot", metavar="FILE", help="measure five of them, and draw the first seed's"
    )
    args = parser.parse_args()
    if args.plot:
        from matplotlib import pyplot  # here, to miss it before the runs
    curves = {}
    default = MISTAKES if args.mistakes else CURVES if args.plot else EXPERIMENTS
    for name in args.only or default:
        runs = [measure(name, args.epochs, seed) for seed in args.seeds]
        first, last = (span([run[at][0] for run in runs]) for at in (0, -1))
        loss = span([run[-1][1] for run in runs])
        print(f"{name}: {first} %, at last {last} %, loss {loss}", flush=True)
        curves[name] = [accuracy for accuracy, _ in runs[0]]
    if args.plot:
        plot(pyplot, curves, args.plot)


if __name__ == "__main__":
    main()
