"""Time the script, the post's procedure and a bare loop: python tests/benchmark.py

Each runs in a process of its own, once for one epoch and once for several; what the
further epochs take is the difference of the two times. The three take turns, as often
as there are rounds. Other programs can only make a run slower, so "of bare loop"
compares the least times. Needs os.wait4, so not Windows.
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

TESTS = Path(__file__).resolve().parent
SCRIPT = TESTS.parent / "train_mnist.py"
COMMANDS = {  # and the number of epochs
    "the post's procedure": [TESTS / "reference.py"],
    "train_mnist.py": [SCRIPT, "--device", "cpu", "--epochs"],
    "bare loop": [TESTS / "bare_loop.py"],
}


def measure(command, folder):
    """Run a Python program; return its seconds and the most memory it took, in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"error: {command[0]} failed")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, others KB
    return seconds, usage.ru_maxrss / unit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of the longer run")
    args = parser.parse_args()

    firsts, others, memory = ({name: [] for name in COMMANDS} for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:  # for the checkpoints
        for _ in range(args.rounds):
            for name, command in COMMANDS.items():
                one, _ = measure([*command, 1], folder)
                all_, peak = measure([*command, args.epochs], folder)
                firsts[name].append(one)
                others[name].append((all_ - one) / (args.epochs - 1))
                memory[name].append(peak)

    threads = f"{torch.get_num_threads()} threads"
    print(f"{platform.machine()}, {threads}, PyTorch {torch.__version__}\n")
    print("| | least s an epoch | median | most | of bare loop | 1 epoch, s | MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    least = {name: min(seconds) for name, seconds in others.items()}
    for name, seconds in others.items():
        figures = [least[name], statistics.median(seconds), max(seconds)]
        figures += [least[name] / least["bare loop"], min(firsts[name])]
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {name} | {cells} | {max(memory[name]):.0f} |")
    speed = least["the post's procedure"] / least["train_mnist.py"]
    more = max(memory["train_mnist.py"]) / max(memory["the post's procedure"])
    print(f"\nThe script: {speed:.1f} times as fast as the post, {more:.2f} the memory")


if __name__ == "__main__":
    main()
