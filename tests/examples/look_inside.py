"""Draw what a trained model holds: its ten templates, and the mistakes it makes.

    python tests/examples/look_inside.py

The model's two linear layers multiply out to one matrix (10, 784): a template of
28 x 28 pixels for each digit. A digit's score is how well the image fits its template,
plus a bias. In templates.png, ink on red pixels raises the digit's score and ink on
blue pixels lowers it, all ten in the same scale. In mistakes.png, a row is a digit and
a column what it was taken for: the first such image of the test set, and their number.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch
from PIL import ImageDraw
from torch import nn
from torch.nn.functional import interpolate, pad
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from train_mnist import make_model, read_mnist

RED, BLUE = torch.tensor([[0.75, 0.0, 0.1], [0.0, 0.25, 0.75]])[:, :, None, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="mnist_dnn_model.pth")
    parser.add_argument("--data-dir", default=ROOT / "datasets")
    args = parser.parse_args()

    saved = torch.load(args.checkpoint, map_location="cpu")
    model = make_model().eval()
    model.load_state_dict(saved.get("model", saved))  # also of a run to be continued
    images, targets = zip(*read_mnist(args.data_dir, train=False))
    with torch.no_grad():
        predicted = model(torch.stack(images)).argmax(dim=1).tolist()
    mistakes = draw_mistakes(images, targets, predicted)
    mistakes.save("mistakes.png", optimize=True)
    print("Saved: mistakes.png")
    # Every model makes mistakes, but only two linear layers in a row have templates.
    templates = draw_templates(multiply_out(model))
    templates.save("templates.png", optimize=True)
    print("Saved: templates.png")


def multiply_out(model):
    """Return the templates (10, 28, 28): what a pixel of ink adds to each score."""
    if [type(module) for module in model.children()] != [nn.Flatten, *2 * [nn.Linear]]:
        sys.exit("error: no templates: the model is not two Linear layers in a row")
    _, first, second = model
    return (second.weight @ first.weight).detach().reshape(10, 28, 28)


def draw_templates(templates):
    values = (templates / templates.abs().max())[:, None]  # from -1 to 1
    colours = 1 - values.abs() * (1 - torch.where(values > 0, RED, BLUE))
    return draw(colours, range(10), columns=5, scale=5)


def draw_mistakes(images, targets, predicted):
    """Draw a table; its first row and its first column name the digits."""
    cells = torch.ones(11 * 11, 1, 28, 28)
    texts = ["is \\ as", *range(10)]
    for digit in range(10):
        texts += [digit, *10 * [""]]
    pairs = list(zip(targets, predicted))
    for (digit, answer), number in Counter(pairs).items():
        if digit != answer:
            place = 11 * (digit + 1) + answer + 1
            cells[place] = 1 - images[pairs.index((digit, answer))]
            texts[place] = number
    return draw(cells, texts, columns=11, scale=2)


def draw(images, texts, columns, scale):
    """Return a picture of the images in rows, each with a text above it."""
    cells = pad(interpolate(images, scale_factor=scale), (8, 8, 20, 0), value=1)
    picture = to_pil_image(make_grid(cells, nrow=columns, padding=0))
    pen = ImageDraw.Draw(picture)
    height, width = cells.shape[2:]
    for number, text in enumerate(texts):
        row, column = divmod(number, columns)
        place = (column * width + width // 2, row * height + 10)
        pen.text(place, str(text), "black", anchor="mm", font_size=16)
    return picture


if __name__ == "__main__":
    main()
