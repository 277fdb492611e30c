"""The README's sections, tables and changes, for the tests and for experiments.py."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT.joinpath("README.md").read_text("utf-8")
SCRIPT = ROOT.joinpath("train_mnist.py").read_text("utf-8")


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text):
    """The cells of a text's first table, without its heading."""
    lines = re.search(r"(^\|.*\n)+", text, re.MULTILINE)[0].splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]
    ]


def changed(change):
    """Return the script with a change made to it, as the README writes changes.

    Its parts, between <br>, are: `line`, in place of the one that starts alike; in
    place of `start`: `line`; below `start`: `line`; without `start`.
    """
    lines = SCRIPT.splitlines()
    for part in filter(None, change.split("<br>")):
        how, start, line = re.fullmatch(r"(.*?)`(.*?)`(?:: `(.*)`)?", part).groups()
        if not how:
            start, line = re.match(r"\w+( =|\()", start)[0], start
        found = [i for i, text in enumerate(lines) if text.strip().startswith(start)]
        if len(found) != 1:
            raise ValueError(f"{len(found)} lines of the script start with {start}")
        (index,) = found
        indent = re.match(" *", lines[index])[0]
        if how == "below ":
            lines.insert(index + 1, indent + line)
        elif how == "without ":
            del lines[index]
        else:
            lines[index] = indent + line
    return "\n".join(lines) + "\n"
