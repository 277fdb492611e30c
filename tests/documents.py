"""The documents' blocks and tables, and the changes to a script that they describe.

    python tests/documents.py "sh train"

This prints the block of that name. To change a script, see examples/change.py.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT.joinpath("README.md").read_text("utf-8")
CHANGES = ROOT.joinpath(".github", "changes.md").read_text("utf-8")
KOREAN = ROOT.joinpath(".github", "korean.md").read_text("utf-8")

# The lines meant in the README's table of lines: a line with = takes the place of such
# a line, and a layer comes after it.
PLACES = {
    "`read_mnist`": "    mnist = torchvision.datasets.MNIST("
    "data_dir, train, download=True)",
    "first in the model": "    return nn.Sequential(",
    "between the two `nn.Linear`": "        nn.Linear(28 * 28, 1024),",
    "step 3": "    criterion = nn.CrossEntropyLoss()",
    "step 4": "    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)",
}


def blocks(text):
    """Return the contents of a text's code blocks by what stands after the ```."""
    found = re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", text, re.M | re.S)
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two blocks have one name: {name!r}")
    return dict(found)


def block(name):
    """Return the content of the block with that name, of the README or the changes."""
    return blocks(README + CHANGES)[name]


def table(heading, text=README):
    """Return the rows of the table under a heading, each a list of cells."""
    rows = text.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def changes():
    """Return the parts of each change by its name: old lines, and those in their place.

    A change "A + B" is what A and B need together.
    """
    parts = {}
    for name, where, code in table("| change | where | line |"):
        place, line = PLACES[where] + "\n", code.strip("`")
        if " = " in line:
            new = re.match(" *", place).group() + line + "\n"
        else:
            new = f"{place}        {line}\n"
        parts[name.split(" (")[0]] = [(place, new)]
    for document in (CHANGES, KOREAN):
        for info, content in blocks(document).items():
            kind, _, name = info.partition(" ")
            if kind == "diff":
                parts[name] = [sides(part) for part in content.split("...\n")]
    return parts


def sides(part):
    """Return what a part of a diff finds in the script, and what it leaves there."""
    lines = [line or " " for line in part.splitlines()]
    old, new = (
        "".join(f"{line[1:]}\n" for line in lines if line[0] in signs)
        for signs in (" -", " +")
    )
    return old, new


def make(script, *names):
    """Return a script with changes of these names, made in this order.

    A ValueError says which of them is there already, or does not fit, and why.
    """
    known = changes()
    start = script
    for number, name in enumerate(names):
        try:
            script = change(script, known[name])
        except ValueError as error:
            reason = order(known, start, names[:number], name) or error
            raise ValueError(f"{name!r} {reason}") from None
    for pair in [name for name in known if " + " in name]:
        both = [known[name] for name in pair.split(" + ")]
        if has(script, *both) and not has(start, *both):
            try:
                script = change(script, known[pair])
            except ValueError as error:
                raise ValueError(f"{pair!r} {error}") from None
    return script


def order(known, script, made, name):
    """Say what has to come first, if a change fits in another order."""
    for place in reversed(range(len(made))):
        if fits(known, script, *made[:place], name, *made[place:]):
            return f"has to come before {made[place]!r}"
    for other in known:
        if fits(known, script, *made, other, name):
            return f"has to come after {other!r}"
    return ""


def fits(known, script, *names):
    try:
        for name in names:
            script = change(script, known[name])
    except ValueError:
        return False
    return True


def change(script, parts):
    """Return a script with all parts of a change; if one does not fit, ValueError."""
    if all(places(script, new) for _, new in parts):
        raise ValueError("is there already")
    for old, new in parts:
        check(script, old, new)
    for old, new in parts:
        (place,) = places(script, old)
        script = script[:place] + new + script[place + len(old) :]
    return script


def places(script, lines):
    """Return where these lines begin in a script."""
    return [
        found.start() for found in re.finditer(f"^{re.escape(lines)}", script, re.M)
    ]


def check(script, old, new):
    """Raise a ValueError if the old lines do not stand in a script once.

    Or if the new ones bring what is already in that function: the same layer, or a
    variable of the same name.
    """
    lines = old.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if not places(script, "".join(lines[:number])):
            below = f" below {lines[number - 2].strip()!r}" if number > 1 else ""
            raise ValueError(
                f"does not fit: the line {line.strip()!r} is missing{below}"
            )
    place, *others = places(script, old)
    if others:
        raise ValueError(f"does not fit: {lines[0].strip()!r} stands there twice")
    function = script[script.rfind("\ndef ", 0, place) : script.find("\ndef ", place)]
    for what in brings(old, new) & brings("", function):
        raise ValueError(f"does not fit: {what!r} is there already")


def brings(old, new):
    """Return the variables and layers that are only in the new lines."""
    pattern = r"^ *(\w+(?=(?:: \w+)? *=[^=])|nn\..*\),)(?:\W|$)"
    old, new = (re.findall(pattern, text, re.MULTILINE) for text in (old, new))
    return {*new} - {*old}


def has(script, *changes):
    """Say whether a script has something that each of these changes brings."""
    there = brings("", script)
    return all(any(brings(old, new) & there for old, new in parts) for parts in changes)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    print(block(sys.argv[1]), end="")
