"""Time the script beside the post's procedure: python tests/benchmark.py [other.py ...]

Other versions of the script can be named, to be compared in the same rounds. Each
program runs in a process of its own, once for one epoch and once for several; an epoch
takes the difference of the two times, divided by the number of further epochs. Other
programs on the machine can only make a run slower, so the least times are compared.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
POST, SCRIPT = "the post's procedure", "train_mnist.py"


def measure(command, folder):
    """Run a Python program; return its seconds and, but for Windows, its peak MB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=folder, stdout=subprocess.DEVNULL
    )
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(process.pid, 0)
        unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, others KB
        peak = usage.ru_maxrss / unit
    else:
        status, peak = process.wait(), float("nan")
    if status != 0:
        sys.exit(f"error: {command[0]} failed")
    return time.perf_counter() - start, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("others", nargs="*", type=Path, metavar="other.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of the longer run")
    args = parser.parse_args()

    flags = ["--data-dir", ROOT / "datasets", "--device", "cpu", "--epochs"]
    commands = {POST: [ROOT / "tests" / "reference.py"]}
    commands[SCRIPT] = [ROOT / "train_mnist.py", *flags]
    commands.update({str(other): [other.resolve(), *flags] for other in args.others})
    results = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:  # for the checkpoints
        for _ in range(args.rounds):
            for name, command in commands.items():
                one, _ = measure([*command, 1], folder)
                several, peak = measure([*command, args.epochs], folder)
                epoch = (several - one) / (args.epochs - 1)
                results[name].append((epoch, one, peak))

    threads = f"{torch.get_num_threads()} threads"
    print(f"{platform.machine()}, {threads}, PyTorch {torch.__version__}\n")
    print("| | least s an epoch | median | most | run of 1 epoch, s | peak MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    least, memory = {}, {}
    for name, rounds in results.items():
        epochs, ones, peaks = zip(*rounds)
        least[name], memory[name] = min(epochs), max(peaks)
        figures = (min(epochs), statistics.median(epochs), max(epochs), min(ones))
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {name} | {cells} | {max(peaks):.0f} |")
    speed = least[POST] / least[SCRIPT]
    more = memory[SCRIPT] / memory[POST]
    print(f"\nThe script: {speed:.1f} times as fast as the post, {more:.2f} the memory")


if __name__ == "__main__":
    main()
