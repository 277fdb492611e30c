"""Draw what a trained model holds: its ten templates, and the mistakes it makes."""

import argparse
import sys
from itertools import product
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import nn
from torch.utils.data import default_collate
from torchvision.transforms.functional import to_pil_image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from train_mnist import make_model, read_mnist

WIDTH = 820  # about the widest that GitHub shows without making it smaller
RED, BLUE = torch.tensor([[0.75, 0.0, 0.1], [0.0, 0.25, 0.75]])[:, :, None, None]


@torch.no_grad()  # torchvision makes no picture of what has gradients
def main():
    args = parse_args()
    model = load_model(args.checkpoint)
    images, targets = default_collate(read_mnist(args.data_dir, train=False))
    predicted = model(images.reshape(-1, 28 * 28)).argmax(dim=1)  # as in training
    # The mistakes first: every model makes some, but not every one has templates.
    save(draw_mistakes(images, targets, predicted), args.out / "mistakes.png")
    save(draw_templates(multiply_out(model)), args.out / "templates.png")


def load_model(path):
    model = make_model()
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        sys.exit(f"error: no checkpoint at {path}, run train_mnist.py first")
    except Exception as error:  # of many types: the file can hold anything
        raise SystemExit(
            f"error: cannot read {path} as a checkpoint of train_mnist.py's model "
            "(two linear layers, unless you changed make_model)"
        ) from error
    return model.eval()


def multiply_out(model):
    """Return the templates (10, 28, 28): what a pixel of ink adds to each logit."""
    types = [type(module) for module in model.modules()]
    if types != [nn.Sequential, nn.Linear, nn.Linear]:
        sys.exit("error: no templates: the model is not two Linear layers in a row")
    first, second = model
    return (second.weight @ first.weight).reshape(10, 28, 28)


def draw_templates(templates):
    """Return a picture of the templates, all in the same scale of colours."""
    picture = Image.new("RGB", (WIDTH, 410), "white")
    most = templates.abs().max()
    for digit, template in enumerate(templates):
        row, column = divmod(digit, 5)
        left, top = 12 + 164 * column, 32 + 176 * row
        write(picture, str(digit), left + 70, top - 15, size=22)
        paste(picture, colour(template / most), left, top, scale=5)
    legend = colour(torch.linspace(-1, 1, 80).expand(4, 80))
    paste(picture, legend, 250, 380, scale=4)
    write(picture, f"against the digit  {-most:.2f}", 240, 388, anchor="rm")
    write(picture, f"{most:+.2f}  for the digit", 580, 388, anchor="lm")
    return picture


def draw_mistakes(images, targets, predicted):
    """Return a table: of each mistake the first image, and how often it is made."""
    picture = Image.new("L", (WIDTH, WIDTH), "white")
    edge, side = 56, 76  # of the table and of its squares
    write(picture, "taken for", edge + 5 * side, 12)
    write(picture, "is", 14, edge + 5 * side)
    for digit in range(10):
        middle = edge + side * digit + side // 2
        write(picture, str(digit), middle, 40, size=22)
        write(picture, str(digit), 40, middle, size=22)
    for row, column in product(range(10), repeat=2):
        left, top = edge + side * column, edge + side * row
        square = [left, top, left + side, top + side]
        fill = "lightgrey" if row == column else "white"
        ImageDraw.Draw(picture).rectangle(square, fill, outline="darkgrey")
        mistaken = images[(targets == row) & (predicted == column)]
        if row != column and len(mistaken):
            paste(picture, 1 - mistaken[0], left + 4, top + 17, scale=2)
            write(picture, str(len(mistaken)), left + 71, top + 4, anchor="ra")
    return picture


def colour(values):
    """Return values (h, w) from -1 to 1 as colours (3, h, w), blue to white to red."""
    return 1 - values.abs() * (1 - torch.where(values > 0, RED, BLUE))


def paste(picture, image, left, top, scale):
    """Put an image (channels, h, w) on the picture, with its pixels enlarged."""
    enlarged = ImageOps.scale(to_pil_image(image), scale, Image.Resampling.NEAREST)
    picture.paste(enlarged, (left, top))


def write(picture, text, x, y, size=18, anchor="mm"):
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text((x, y), text, "black", font, anchor)


def save(picture, path):
    try:
        picture.save(path, optimize=True)
    except OSError as error:
        sys.exit(f"error: cannot save {path}: {error}")
    print(path)


def parse_args():
    datasets = ROOT / "datasets"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--checkpoint", default="mnist_dnn_model.pth", help="file read")
    parser.add_argument("--data-dir", default=datasets, help="folder of MNIST/raw")
    parser.add_argument("--out", type=Path, default=".", help="folder of the pictures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
