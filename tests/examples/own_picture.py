"""Read your own pictures of handwritten digits with the model that you have trained.

    python tests/examples/own_picture.py my_digit.jpg another.png

Each picture shows one digit on plain or lined paper, with no frame around it. It may be
a photograph, a scan or a drawing, dark on light or light on dark.
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch.nn.functional import interpolate, max_pool2d
from torchvision.transforms.functional import resize, resized_crop, to_tensor
from torchvision.utils import save_image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from train_mnist import make_model

SIZE = 128  # pixels at the longer side of a picture while its digit is looked for


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="+", help="files such as PNG or JPEG")
    parser.add_argument("--checkpoint", default="mnist_dnn_model.pth")
    args = parser.parse_args()

    saved = torch.load(args.checkpoint, map_location="cpu")
    if "classes" in saved:  # trained on pictures that were not made like MNIST's
        sys.exit(f"error: {args.checkpoint} is for classify_photos.py or its like")
    model = make_model().eval()
    model.load_state_dict(saved.get("model", saved))  # also of a run to be continued
    # Pillow's limit is for strangers' files; a photograph of your own may be larger.
    Image.MAX_IMAGE_PIXELS = None
    images = []
    for path in args.pictures:
        try:
            image = like_mnist(read_picture(path))
        except (OSError, SyntaxError, ValueError) as error:  # damaged, or no digit
            print(f"{path}: {error}")
            continue
        with torch.no_grad():
            percent = 100 * model(image.unsqueeze(0)).softmax(dim=1)[0]
        best = percent.topk(3).indices
        answers = [f"{digit} ({percent[digit]:.0f} %)" for digit in best.tolist()]
        print(f"{path}: {', '.join(answers)}")
        images.append(image)
    if images:
        save_image(interpolate(torch.stack(images), scale_factor=10), "shown.png")
        print("What the model was shown: shown.png")
    if len(images) < len(args.pictures):
        sys.exit(1)


def read_picture(path):
    """Return a file's picture, upright: a tensor (channels, height, width) up to 1."""
    picture = Image.open(path)
    picture.draft("RGB", (1024, 1024))  # reads a large JPEG at a smaller size
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # grey of more than 8 bits
        picture = picture.convert("F")
    else:  # on grey paper, where both black and white ink on a transparent ground show
        paper = Image.new("RGBA", picture.size, "grey")
        picture = Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
    picture.thumbnail((1024, 1024))
    picture = to_tensor(picture)
    return picture / picture.max().clamp(min=1)  # of more than 8 bits: from 0 to 1


def like_mnist(picture):
    """Return the digit of a picture like an image of MNIST, (1, 28, 28).

    In MNIST, a digit is scaled to fit into 20 x 20 pixels and placed by its centre of
    mass: LeCun and others, Gradient-Based Learning Applied to Document Recognition,
    Proceedings of the IEEE 86 (1998), section III A.

    A picture without a digit is a ValueError.
    """
    for _ in range(2):  # in the whole picture, then in the part around the digit
        scale = SIZE / max(picture.shape[1:])
        sides = [math.ceil(side * scale) for side in picture.shape[1:]]
        strokes = find_strokes(resize(picture, sides))
        places = strokes.nonzero().float()
        centre = places.mean(dim=0)
        size = (places.amax(dim=0) - places.amin(dim=0)).max() + 1
        top, left = ((centre - size) / scale).clamp(min=0).int()
        bottom, right = ((centre + size) / scale).ceil().int()
        picture = picture[:, top:bottom, left:right]
    side = round(1.5 * size.item())  # 28 pixels; with its soft edges, the digit has 20
    # The centre of mass comes to the middle of pixel (14, 14).
    top, left = (centre + 0.5 - side * 14.5 / 28).round().int().tolist()
    image = resized_crop(strokes[None].float(), top, left, side, side, [28, 28])
    return image / image.max()


def find_strokes(picture):
    """Return where a picture's digit is: a mask (height, width)."""
    height, width = picture.shape[1:]
    up, side = height // 8, width // 8
    middle = picture[:, up : height - up, side : width - side].flatten(1)
    # Where the paper is dark, turn it round: each colour channel on its own
    dark = middle.median(dim=1).values < (middle.amin(dim=1) + middle.amax(dim=1)) / 2
    picture = torch.where(dark[:, None, None], -picture, picture)
    # Black-hat: a closing fills the dark strokes, so what it changes is the ink.
    window = {"kernel_size": SIZE // 4 + 1, "stride": 1, "padding": SIZE // 8}
    closing = -max_pool2d(-max_pool2d(picture, **window), **window)
    ink = (closing - picture).amax(dim=0)
    if ink.max() < 0.05:
        raise ValueError("no digit found")
    pieces = connected_pieces(ink > ink.max() / 2)
    rim = torch.cat([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    inside = pieces * ~torch.isin(pieces, rim)  # leaves out shadows and the desk
    if inside.any():
        pieces = inside
    numbers, sizes = pieces[pieces > 0].unique(return_counts=True)
    return torch.isin(pieces, numbers[sizes > sizes.max() / 20])  # leaves out specks


def connected_pieces(mask):
    """Number the connected pieces of a mask (height, width); elsewhere it is 0."""
    numbers = torch.arange(1.0, mask.numel() + 1).reshape(mask.shape) * mask
    while True:  # the highest number spreads through its piece
        spread = max_pool2d(numbers[None], 3, stride=1, padding=1)[0] * mask
        if torch.equal(spread, numbers):
            return numbers
        numbers = spread


if __name__ == "__main__":
    main()
