"""The documents' blocks and tables, and the changes to the script that they describe.

    python tests/documents.py "sh train"

This prints the block of that name. To change the script, see examples/change.py.
"""

import re
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_TEXT = ROOT.joinpath("train_mnist.py").read_text("utf-8")
README = ROOT.joinpath("README.md").read_text("utf-8")
CHANGES = ROOT.joinpath(".github", "changes.md").read_text("utf-8")
KOREAN = ROOT.joinpath(".github", "korean.md").read_text("utf-8")
# The checksum of train_mnist.py: change it with the script (sha256sum prints it).
ORIGINAL = "4c23dbb2ef65a4026b3eeb039ac25f77dd6783e1fd09c9a6148dce2ed2d09bde"


def blocks(text):
    """Return the contents of a text's code blocks by what stands after the ```."""
    return dict(re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", text, re.M | re.S))


def block(name, text=README + CHANGES):
    """Return the content of the block with that name."""
    return blocks(text)[name]


def table(heading, text=README):
    """Return the rows of the table under a heading, each a list of cells."""
    rows = text.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def changes():
    """Return the steps of each change by its name: functions, and what they take."""
    steps, functions = {}, {}
    for name, _, line in table("| change | where | line |"):
        steps[name.split(" (")[0]] = [(put_line, line.strip("`"))]
    for info, content in blocks(README + CHANGES + KOREAN).items():
        kind, _, names = info.partition(" ")
        for name in names.split(", "):
            if kind == "diff":
                steps.setdefault(name, []).append((apply, content))
            elif kind == "python" and not name.endswith(".py"):
                functions.setdefault(name, []).append(content)
    for name, contents in functions.items():
        steps.setdefault(name, []).append((paste, "\n\n".join(contents)))
    return steps


def make(*names):
    """Return the original script with changes of these names, made in this order.

    A change "A + B" is made where A and B are. A ValueError says that the script is not
    the original, that there is no change of a name, or why it does not fit.
    """
    if sha256(SCRIPT_TEXT.encode()).hexdigest() != ORIGINAL:
        raise ValueError(
            "train_mnist.py has been changed: restore your copy of the original, and "
            "name all changes in one command; or make them by hand"
        )
    script, known = SCRIPT_TEXT, changes()
    singles = [name for name in known if " + " not in name]
    for number, name in enumerate(names):
        made = names[:number]
        if name not in singles:
            raise ValueError(f"no change {name!r}, only: {', '.join(singles)}")
        if name in made:
            raise ValueError(f"{name!r} stands there twice")
        try:
            script = change(script, known[name])
        except ValueError as error:
            reason = order(known, made, name) or f"does not fit: {error}"
            raise ValueError(f"{name!r} {reason}") from None
    for name in known:
        if name not in singles and {*name.split(" + ")} <= {*names}:
            script = change(script, known[name])
    return script


def order(known, made, name):
    """Say what has to come first, if a change fits in another order."""
    for place, other in enumerate(made):
        if fits(steps_of(known, *made[:place], name, *made[place:])):
            return f"has to come before {other!r}"
    for other in known:
        if fits(steps_of(known, *made, other, name)):
            return f"has to come after {other!r}"
    return ""


def steps_of(known, *names):
    return [step for name in names for step in known[name]]


def fits(steps):
    try:
        change(SCRIPT_TEXT, steps)
    except ValueError:
        return False
    return True


def change(script, steps):
    """Return a script after the steps of a change; if one does not fit, ValueError."""
    for step, part in steps:
        script = step(script, part)
    return script


def replace_once(script, old, new):
    """Replace whole lines, which must stand in the script once, by others."""
    script, old, new = (f"\n{text}" for text in (script, old, new))
    if script.count(old) != 1:
        first = old.splitlines()[1].strip()
        raise ValueError(f"what begins with {first!r} is not as in the original script")
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
    """Paste functions over the script's make_model, or read_mnist, or both of them."""
    start = "def read_mnist" if "def read_" in functions else "def make_model"
    end = "def evaluate" if "def make_model" in functions else "def make_model"
    old = SCRIPT_TEXT[SCRIPT_TEXT.index(start) : SCRIPT_TEXT.index(end)]
    return replace_once(script, old, f"{functions}\n\n")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    print(block(sys.argv[1]), end="")
