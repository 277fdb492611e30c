"""Time the script beside the post's procedure: python tests/benchmark.py [other.py ...]

Other versions of the script can be named, to be compared in the same rounds. Each
program runs in a process of its own, once for one epoch and once for several; an epoch
takes the difference of the two times, divided by the number of further epochs. Other
programs on the machine can only make a run slower, so compare the least times.

For Linux and macOS.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


def measure(command, folder):
    """Run a Python program; return its seconds and its peak MB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"error: {command[0]} failed")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux KB
    return time.perf_counter() - start, usage.ru_maxrss / unit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("others", nargs="*", type=Path, metavar="other.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of the longer run")
    args = parser.parse_args()

    flags = ["--data-dir", ROOT / "datasets", "--device", "cpu", "--epochs"]
    commands = {"the post's procedure": [ROOT / "tests" / "reference.py"]}
    for script in (ROOT / "train_mnist.py", *args.others):
        commands[script.name] = [script.resolve(), *flags]
    results = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:  # for the checkpoints
        for _ in range(args.rounds):
            for name, command in commands.items():
                one, _ = measure([*command, 1], folder)
                several, peak = measure([*command, args.epochs], folder)
                results[name].append(((several - one) / (args.epochs - 1), one, peak))

    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| | least s an epoch | median | most | least s for 1 epoch | most MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, rounds in results.items():
        epochs, ones, peaks = zip(*rounds)
        figures = (min(epochs), statistics.median(epochs), max(epochs), min(ones))
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {name} | {cells} | {max(peaks):.0f} |")


if __name__ == "__main__":
    main()
