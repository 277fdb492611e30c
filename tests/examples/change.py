"""Make changes of the documents to train_mnist.py, in the order given.

    python tests/examples/change.py ReLU "loss curve" --save train_mnist.py

.github/changes.md lists their names.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from documents import make


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="what to change")
    parser.add_argument(
        "--save", type=Path, required=True, metavar="FILE", help="the changed script"
    )
    args = parser.parse_args()
    try:
        script = make(*args.names)
        args.save.write_text(script, "utf-8")
    except (ValueError, OSError) as error:
        parser.error(error)
    print(f"Saved: {args.save}")


if __name__ == "__main__":
    main()
