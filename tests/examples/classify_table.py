"""Print the classes of new rows, with the model that train_table.py has saved.

    python classify_table.py new.csv

The table has the columns of the one for training, found by their names; further ones,
such as the class, are ignored.
"""

import argparse

import torch
from train_table import make_model, read_rows, to_numbers  # or its new name


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", metavar="FILE.csv")
    parser.add_argument("--checkpoint", default="table.pth", help="the saved model")
    args = parser.parse_args()

    saved = torch.load(args.checkpoint, map_location="cpu")
    columns, classes = saved["columns"], saved["classes"]
    model = make_model(len(columns), len(classes))
    model.load_state_dict(saved["model"])
    model.eval()
    header, rows = read_rows(args.table)
    inputs = torch.tensor(to_numbers(args.table, header, rows, columns))
    with torch.no_grad():
        outputs = model(inputs)
    for (line, _), answer in zip(rows, outputs.argmax(dim=1).tolist()):
        print(f"{args.table}, line {line}: {classes[answer]}")


if __name__ == "__main__":
    main()
