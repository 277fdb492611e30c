"""The README's sections and tables, for the tests and for experiments.py."""

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent.joinpath("README.md").read_text("utf-8")


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text):
    """The cells of a text's first table, without its heading."""
    lines = re.search(r"(^\|.*\n)+", text, re.MULTILINE)[0].splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]
    ]
