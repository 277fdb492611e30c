"""Measure the README's table of experiments: python tests/experiments.py [--help]

Each row is a line of train_mnist.py to change, or flags, or both. The changed script is
run from a folder of its own, and the table's accuracies are printed again.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from readme import rows, section

ROOT = Path(__file__).resolve().parent.parent


def read_table():
    """Return the README's experiments as (what it says, lines, flags, accuracy)."""
    experiments, lines = [], []
    for change, accuracy, _ in rows(section("Change one thing")):
        codes = re.findall(r"`([^`]*)`", change)
        if not change.startswith("the same"):
            lines = [code for code in codes if not code.startswith("--")]
        flags = [word for code in codes if code not in lines for word in code.split()]
        experiments.append((change, lines, flags, accuracy))
    return experiments


def write_changed(lines, path):
    """Write the script to path, each line in place of the one that starts alike."""
    text = (ROOT / "train_mnist.py").read_text("utf-8")
    for line in lines:
        start = re.match(r"\w+ (=|\w+)", line)[0]
        text, count = re.subn(rf"(?m)^( *){start}.*", rf"\g<1>{line}", text)
        if count != 1:
            sys.exit(f"{count} lines of the script start with {start}")
    path.write_text(text, "utf-8")


def main():
    table = read_table()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", default="10")
    every = range(len(table))
    parser.add_argument("--rows", type=int, nargs="+", default=every, help="from 0 on")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train_mnist.py")
        for change, lines, flags, accuracy in (table[row] for row in args.rows):
            if accuracy == "not measured":
                continue
            write_changed(lines, script)
            flags = [*flags, "--epochs", args.epochs, "--data-dir", ROOT / "datasets"]
            command = [sys.executable, script, *flags]
            output = subprocess.check_output(command, cwd=folder, text=True)
            print(
                f"{re.findall(r'Accuracy: (.*?) %', output)[-1]} % {change}", flush=True
            )


if __name__ == "__main__":
    main()
