"""Make changes of the documents in a script, in the order given, or none of them.

    python tests/examples/change.py train_mnist.py Adam "loss curve"

FILE is train_mnist.py, train_photos.py, train_table.py or a copy, also with changes of
your own. .github/changes.md describes the changes and which script each is for.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from documents import changes, make


def main():
    names = [name for name in changes() if " + " not in name]
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=f"The names: {', '.join(names)}. Put quotation marks around two words.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the script to change")
    parser.add_argument("names", nargs="+", metavar="NAME", choices=names)
    args = parser.parse_args()
    try:
        with open(args.file, encoding="utf-8", newline="") as file:
            text = file.read()
        line_end = "\r\n" if "\r\n" in text else "\n"
        text = make(text.replace("\r\n", "\n"), *args.names)
        unfinished = f"{args.file}.{os.getpid()}"  # an error leaves the old file whole
        with open(unfinished, "w", encoding="utf-8", newline=line_end) as file:
            file.write(text)
        shutil.copymode(args.file, unfinished)
        os.replace(unfinished, args.file)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"Changed: {args.file}")


if __name__ == "__main__":
    main()
