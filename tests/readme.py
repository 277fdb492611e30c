"""The README's sections, tables, blocks and diffs, for the tests and experiments.py.

Whatever is missing, or is there twice, is an error, so that nothing escapes its test.

    python tests/readme.py SECTION START

prints the section's block whose first line begins with START: a command for .ci/run.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT.joinpath("train_mnist.py").read_text("utf-8")


def only(found, what):
    if len(found) != 1:
        raise ValueError(f"README: {len(found)} times, not once: {what}")
    return found[0]


def section(title, file="README.md"):
    text = ROOT.joinpath(file).read_text("utf-8")
    parts = text.split("\n## ")
    return only([part for part in parts if part.startswith(f"{title}\n")], title)


def rows(text):
    """The cells of a text's only table, without its heading."""
    table = only(re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE), "a table")
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def blocks(text):
    """The contents of all blocks of a text."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def block(title, start):
    """The only block of a section whose text begins so."""
    found = [text for text in blocks(section(title)) if text.startswith(start)]
    return only(found, f"a block with {start} in {title}")


def recipes():
    """The diffs of "Make it yours" by their headings."""
    found = {}
    for part in section("Make it yours").split("\n### ")[1:]:
        title, text = part.split("\n", 1)
        found.setdefault(title, []).extend(blocks(text))
    return {title: only(diffs, title) for title, diffs in found.items()}


def apply(diff, text=SCRIPT):
    """Return the text with a diff made to it; its parts stand between lines "..."."""
    for part in diff.split("...\n"):
        lines = [line or " " for line in part.splitlines()]
        old = "".join(line[1:] + "\n" for line in lines if line[0] in " -")
        new = "".join(line[1:] + "\n" for line in lines if line[0] in " +")
        if ("\n" + text).count("\n" + old) != 1:
            raise ValueError(f"not exactly once in the script:\n{old}")
        text = ("\n" + text).replace("\n" + old, "\n" + new)[1:]
    return text


def changed(*diffs):
    """Return the script with diffs made to it, one after the other."""
    text = SCRIPT
    for diff in diffs:
        text = apply(diff, text)
    return text


if __name__ == "__main__":
    print(block(*sys.argv[1:]), end="")
