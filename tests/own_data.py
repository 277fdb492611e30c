"""Makes photos, a table and weights to try own data with: python tests/own_data.py"""

import csv
from pathlib import Path

import torch
import torchvision
from PIL import Image

COLOURS = {"ant": "red", "bee": "green", "cat": "blue", "dog": "white"}
HEADER = ["height", "width", "depth", "weight", "class"]


def write_data():
    """Write photos and a table to the current folder, and something new of each."""
    for name, colour in COLOURS.items():
        Path("pictures", name).mkdir(parents=True)
        for number in range(5):
            picture = Image.new("RGB", (300 + number, 260), colour)
            picture.save(f"pictures/{name}/{number}.jpg")
    picture.save("new.jpg")
    write_table(rows())
    write_table(rows()[:2], path="new.csv")


def write_weights():
    """Write weights where torch looks for those of ImageNet, below TORCH_HOME."""
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    weights = Path(torch.hub.get_dir(), "checkpoints", name)
    weights.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    # Zeros at the end of each block, as this learns the colours fast and surely
    model = torchvision.models.resnet18(zero_init_residual=True)
    torch.save(model.state_dict(), weights)


def rows(scale=1, offset=0):
    """Return 120 rows; those of a class are near a corner of their own."""
    torch.manual_seed(1)
    corners = torch.tensor([[1, 9, 1, 9], [9, 1, 9, 1], [5.1, 3.5, 1.4, 0.2]])
    values = (corners + torch.randn(40, 3, 4) / 2).flatten(0, 1)
    values[:, 0] = values[:, 0] * scale + offset
    return [
        [*row, ("setosa", "-1", "붓꽃")[number % 3]]
        for number, row in enumerate(values.tolist())
    ]


def write_table(rows, header=HEADER, path="table.csv", encoding="utf-8", delimiter=","):
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows, []])


if __name__ == "__main__":
    write_data()
    write_weights()
