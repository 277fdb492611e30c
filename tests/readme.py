"""Find the README's parts, and apply its diffs to the script.

    python tests/readme.py "python -m pytest"

prints the README's block that contains these words: commands for .ci/run.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_TEXT = ROOT.joinpath("train_mnist.py").read_text("utf-8")
README = ROOT.joinpath("README.md").read_text("utf-8")
KOREAN = ROOT.joinpath(".github", "README.ko.md").read_text("utf-8")


def blocks(text, language=r"\w*"):
    """Return the contents of a text's code blocks, perhaps of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def block(words):
    """Return the README's only code block that contains these words."""
    (found,) = [text for text in blocks(README) if words in text]
    return found


def table(heading, text=README):
    """Return the rows of the table under a heading, each a list of cells."""
    rows = text.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def diffs():
    """Return the README's diffs by the headings they stand under."""
    found = {}
    for section in README.split("\n### ")[1:]:
        heading = section.splitlines()[0]
        for diff in blocks(section, "diff"):
            assert heading not in found, f"two diffs under {heading}"
            found[heading] = diff
    return found


def apply(*diffs):
    """Return the script with diffs applied; "..." separates the parts of a diff."""
    script = "\n" + SCRIPT_TEXT
    for part in (part for diff in diffs for part in diff.split("...\n")):
        lines = [line or " " for line in part.splitlines()]
        old = "".join(f"\n{line[1:]}" for line in lines if line[0] in " -") + "\n"
        new = "".join(f"\n{line[1:]}" for line in lines if line[0] in " +") + "\n"
        if script.count(old) != 1:
            raise ValueError(f"not exactly once in the script:{old}")
        script = script.replace(old, new)
    return script[1:]


if __name__ == "__main__":
    print(block(sys.argv[1]), end="")
