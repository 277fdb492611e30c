"""Find the blocks of the documents, and make their changes to the script.

    python tests/readme.py "sh train"
    python tests/readme.py --change ReLU "loss curve" --save changed.py

The first prints the README's block of that name. The second makes the changes, which
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


def changes():
    """Return the parts of each change by its name: a line, or a diff and functions."""
    found = {name: {"line": line} for name, line in lines().items()}
    for info, content in blocks(README + CHANGES + KOREAN).items():
        kind, _, name = info.partition(" ")
        if kind == "diff" or kind == "python" and "def make_model" in content:
            found.setdefault(name, {})[kind] = content
    return found


def change(script, name):
    """Return a script with a change, by the name of its row or block.

    A ValueError says why there is no such change, or why it does not fit.
    """
    if name not in changes():
        raise ValueError(f"no change {name!r}, only: {', '.join(changes())}")
    make = {"line": put_line, "diff": apply, "python": paste}
    try:
        for kind, part in sorted(changes()[name].items()):  # the diff first
            script = make[kind](script, part)
    except ValueError as error:
        raise ValueError(f"{name!r} does not fit: {error}") from None
    return script


def replace_once(script, old, new):
    """Replace whole lines, which must stand in the script once."""
    if f"\n{script}".count(f"\n{old}") != 1:
        raise ValueError(
            "other changes have altered this, or still have to, or it has been made:\n"
            + old.rstrip()
        )
    return f"\n{script}".replace(f"\n{old}", f"\n{new}")[1:]


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
    old = SCRIPT_TEXT[SCRIPT_TEXT.index(start) : SCRIPT_TEXT.index("def evaluate")]
    return replace_once(script, old, f"{functions}\n\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("block", nargs="?", help="as it stands after the ```")
    parser.add_argument("--change", nargs="+", metavar="NAME")
    parser.add_argument("--save", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.block:
        sys.stdout.reconfigure(encoding="utf-8")
        print(block(args.block), end="")
        return
    if not (args.change and args.save):
        parser.error("give a block, or --change and --save")
    script = SCRIPT_TEXT
    try:
        for name in args.change:
            script = change(script, name)
    except ValueError as error:
        sys.exit(f"error: {error}")
    args.save.write_text(script, "utf-8")


if __name__ == "__main__":
    main()
