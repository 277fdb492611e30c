"""Find the README's parts, and make its changes to the script.

    python tests/readme.py "sh train"
    python tests/readme.py --change schedule

The first prints the README's block of that name, the second the script with a change.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_TEXT = ROOT.joinpath("train_mnist.py").read_text("utf-8")
README = ROOT.joinpath("README.md").read_text("utf-8")
KOREAN = ROOT.joinpath(".github", "korean.md").read_text("utf-8")


def blocks(text):
    """Return the contents of a text's code blocks by what stands after the ```."""
    return dict(re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", text, re.M | re.S))


def block(name, text=README):
    """Return the content of the block with that name."""
    (content,) = [part for info, part in blocks(text).items() if info.endswith(name)]
    return content


def table(heading, text=README):
    """Return the rows of the table under a heading, each a list of cells."""
    rows = text.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def lines(heading="| change | where | line |", text=README):
    """Return the lines of the table of changes by their names."""
    return {row[0].split(" (")[0]: row[2].strip("`") for row in table(heading, text)}


def change(script, name, page=README):
    """Return a script with a change of the README, by the name of its row or block."""
    if name in lines():
        return put_line(script, lines()[name])
    found = blocks(page)
    assert {f"diff {name}", f"python {name}"} & found.keys(), f"no change {name!r}"
    if f"diff {name}" in found:
        script = apply(script, found[f"diff {name}"])
    if f"python {name}" in found:
        script = paste(script, found[f"python {name}"])
    return script


def put_line(script, line):
    """Put a line over the one that sets the same variable, or a layer in its place."""
    variable, is_assignment, _ = line.partition(" = ")
    if is_assignment:
        script, count = re.subn(rf"\b{variable} = .*\)$", line, script, flags=re.M)
        assert count == 1, f"{variable} is set {count} times"
        return script
    place = "        nn.Linear(28 * 28, 1024),"
    if "Normalize" in line:
        place = "    return nn.Sequential("
    return apply(script, f" {place}\n+        {line}\n")


def apply(script, diff):
    """Return a script with a diff applied; "..." separates the parts of the diff."""
    for part in diff.split("...\n"):
        lines = [line or " " for line in part.splitlines()]
        old = "".join(f"\n{line[1:]}" for line in lines if line[0] in " -") + "\n"
        new = "".join(f"\n{line[1:]}" for line in lines if line[0] in " +") + "\n"
        assert ("\n" + script).count(old) == 1, f"not exactly once in the script:{old}"
        script = ("\n" + script).replace(old, new)[1:]
    return script


def paste(script, functions):
    """Paste functions over make_model, and others that read data over read_mnist."""
    start = "def read_mnist" if "def read_" in functions else "def make_model"
    before, _ = script.split(start)
    _, after = script.split("def evaluate")
    return f"{before}{functions}\n\ndef evaluate{after}"


if __name__ == "__main__":
    *flag, name = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8")
    print(change(SCRIPT_TEXT, name) if flag else block(name), end="")
