"""Find the blocks of the documents, and make their changes to the script.

    python tests/readme.py "sh train"
    python tests/readme.py ReLU "loss curve" --save train_mnist.py

The first prints the block of that name. The second makes the changes, which
.github/changes.md lists, in the order given, and saves the changed script.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_TEXT = ROOT.joinpath("train_mnist.py").read_text("utf-8")
README = ROOT.joinpath("README.md").read_text("utf-8")
CHANGES = ROOT.joinpath(".github", "changes.md").read_text("utf-8")
KOREAN = ROOT.joinpath(".github", "korean.md").read_text("utf-8")


def blocks(text):
    """Return the contents of a text's code blocks by what stands after the ```."""
    return dict(re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", text, re.M | re.S))


def block(name, text=README + CHANGES):
    """Return the content of the block with that name."""
    if name not in blocks(text):
        raise ValueError(f"no block {name!r}; to make changes, add --save FILE")
    return blocks(text)[name]


def table(heading, text=README):
    """Return the rows of the table under a heading, each a list of cells."""
    rows = text.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def changes():
    """Return the steps of each change by its name: functions, and what they take."""
    steps = {}
    for name, _, line in table("| change | where | line |"):
        steps[name.split(" (")[0]] = [(put_line, line.strip("`"))]
    for info, content in blocks(README + CHANGES + KOREAN).items():
        kind, _, name = info.partition(" ")
        if kind == "diff":
            steps.setdefault(name, []).append((apply, content))
        elif "def make_model" in content:
            steps.setdefault(name, []).append((paste, content))
    return steps


def make(*names):
    """Return the script with changes of these names, made in this order."""
    script = SCRIPT_TEXT
    for name in names:
        script = change(script, name)
    return script


def change(script, name):
    """Return a script with a change, by the name of its row or block.

    A ValueError says why there is no such change, or why it does not fit.
    """
    known = changes()
    if name not in known:
        raise ValueError(f"no change {name!r}, only: {', '.join(known)}")
    for step, part in known[name]:
        try:
            script = step(script, part)
        except ValueError as error:
            raise ValueError(f"{name!r} does not fit: {error}") from None
    return script


def replace_once(script, old, new):
    """Replace whole lines, which must stand in the script once, by others."""
    script, old, new = (f"\n{text}" for text in (script, old, new))
    if new != old and new in script:
        raise ValueError("it has been made already")
    if script.count(old) != 1:
        reason = "another change has altered this, or has to come first"
        raise ValueError(f"{reason}:{old.rstrip()}")
    return script.replace(old, new)[1:]


def put_line(script, line):
    """Put a line over the one that sets the same variable, or a layer in its place."""
    variable, is_assignment, _ = line.partition(" = ")
    if is_assignment:
        (old,) = re.findall(rf"^ *{variable} = .*\)$\n", SCRIPT_TEXT, re.M)
        return replace_once(script, old, old.split(variable)[0] + line + "\n")
    place = "        nn.Linear(28 * 28, 1024),\n"
    if "Normalize" in line:
        place = "    return nn.Sequential(\n"
    return replace_once(script, place, f"{place}        {line}\n")


def apply(script, diff):
    """Return a script with a diff applied; "..." separates the parts of the diff."""
    for part in diff.split("...\n"):
        lines = [line or " " for line in part.splitlines()]
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        script = replace_once(script, old, new)
    return script


def paste(script, functions):
    """Paste functions over make_model, and others that read data over read_mnist."""
    start = "def read_mnist" if "def read_" in functions else "def make_model"
    if start not in SCRIPT_TEXT:
        raise ValueError(f"the script has no {start}")
    old = SCRIPT_TEXT[SCRIPT_TEXT.index(start) : SCRIPT_TEXT.index("def evaluate")]
    return replace_once(script, old, f"{functions}\n\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="a block, or changes")
    parser.add_argument("--save", type=Path, metavar="FILE", help="make changes")
    args = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")
    try:
        if args.save:
            args.save.write_text(make(*args.names), "utf-8")
        else:
            print(block(args.names[0]), end="")
    except ValueError as error:
        parser.error(error)


if __name__ == "__main__":
    main()
