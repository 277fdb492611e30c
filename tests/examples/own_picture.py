"""Classify your own picture of one handwritten digit with the model you trained."""

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch.nn.functional import avg_pool2d, max_pool2d, pad
from torchvision.transforms.functional import resize, to_pil_image, to_tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from train_mnist import make_model

SIZE = 128  # pixels at the picture's longer side while the digit is looked for


def main():
    args = parse_args()
    model = load_model(args.checkpoint)
    image = like_mnist(find_ink(read_picture(args.picture)))
    chances = model(image.reshape(1, 28 * 28)).softmax(dim=1)[0]
    best = zip(*(values.tolist() for values in chances.topk(3)))
    print(", ".join(f"{digit}: {100 * chance:.0f} %" for chance, digit in best))
    save_enlarged(image, args.shown)


def load_model(path):
    if not Path(path).exists():
        sys.exit(f"error: there is no {path}: run train_mnist.py first")
    model = make_model()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # of many types, some with a text of many lines
        raise SystemExit(
            f"error: {path} is not what train_mnist.py saves: run it again"
        ) from error
    return model.eval()


def read_picture(path):
    """Return the picture as (4, height, width), with the opacity as a fourth colour."""
    try:
        picture = ImageOps.exif_transpose(Image.open(path))  # phones turn by a note
        if picture.mode[0] in "IF":  # more than the 8 bits that convert() keeps
            low, high = picture.getextrema()
            scale = 255 / max(high - low, 1e-9)
            stretched = picture.convert("F").point(
                lambda grey: grey * scale - low * scale
            )
            picture = stretched.convert("L")
        # In RGBa, what is transparent has no colour: ink of any colour differs.
        picture = picture.convert("RGBA").convert("RGBa")
    except Exception as error:  # damaged files raise errors of many types
        reason = " ".join(str(error).split())
        raise SystemExit(
            f"error: cannot read {path}: {reason}; give a whole PNG or JPEG file"
        ) from error
    scale = SIZE / max(picture.size)
    width, height = (max(1, round(scale * side)) for side in picture.size)
    return resize(to_tensor(picture), [height, width], antialias=True).clamp(0, 1)


def find_ink(picture):
    """Return the ink of the digit, from 0 to 1, as (height, width)."""
    paper = find_paper(picture)
    ink = difference(picture, paper)
    inner = ink.clone()
    for piece in pieces(~paper):
        if torch.cat([piece[0], piece[-1], piece[:, 0], piece[:, -1]]).any():
            inner[piece] = 0  # the desk, unless the digit itself reaches the edge
    digit = select(inner) or select(ink)
    if digit is None:
        sys.exit("error: no digit found: give a picture of one, large and in clear ink")
    check_shape(digit)
    strokes = torch.stack(digit).any(dim=0)
    strength = ink / ink[strokes].quantile(0.8)
    near = max_pool2d(strokes[None].float(), 5, 1, 2)[0]  # keeps the soft edges
    return near * ((strength - 0.2) / 0.6).clamp(0, 1)  # a shade of the paper is no ink


def find_paper(picture):
    """Return a mask of the paper, without soft edges of the ink and the like.

    Of the even areas, with all that match in colour, paper is the largest one; the
    middle of the picture counts more, as a desk may be larger than the sheet.
    """
    highest = max_pool2d(picture, 5, 1, 2)
    lowest = -max_pool2d(-picture, 5, 1, 2)
    steps = (highest - lowest).amax(dim=0)
    contrast = (picture.amax(dim=(1, 2)) - picture.amin(dim=(1, 2))).max()
    even = steps <= max(0.2 * contrast, 2 * steps.median())  # in spite of noise
    rows, columns = (torch.bartlett_window(side, False) for side in even.shape)
    weights = 0.2 + torch.outer(rows, columns)
    papers = []
    for piece in sorted(pieces(even), key=torch.sum)[-4:]:
        ink = difference(picture, piece)
        papers.append(even & (ink <= 0.3 * ink.max()))
    return max(papers, key=lambda paper: weights[paper].sum())


def difference(picture, paper):
    """Return how far each pixel is from the paper near it, in the light there."""
    known = paper[None].float()
    nearby = picture
    while not known.all():  # from the rim of the paper on, into what is not paper
        share = avg_pool2d(known, 9, 1, 4)
        average = avg_pool2d(nearby * known, 9, 1, 4) / share.clamp(min=1e-6)
        nearby = torch.where(known > 0, nearby, average)
        known = (share > 0).float()
    return ((picture - nearby).abs() / torch.maximum(nearby, 1 - nearby)).amax(dim=0)


def pieces(mask):
    """Return the masks of the connected pieces; a pixel has eight neighbours."""
    width = mask.shape[1] + 1  # with an empty column, so that no row runs into the next
    steps = (-width - 1, -width, 1 - width, -1, 1, width - 1, width, width + 1)
    left = set(pad(mask, (0, 1)).flatten().nonzero().flatten().tolist())
    found = []
    while left:
        piece = [left.pop()]
        for pixel in piece:  # grows meanwhile
            near = left.intersection([pixel + step for step in steps])
            left -= near
            piece += near
        flat = torch.zeros(mask.shape[0] * width, dtype=torch.bool)
        flat[piece] = True
        found.append(flat.reshape(-1, width)[:, :-1])
    return found


def select(ink):
    """Return the pieces that make up the digit, or None."""
    if ink.max() < 0.1:
        return None
    found = sorted(pieces(ink > 0.4 * ink.max()), key=torch.sum)
    found = [piece for piece in found if piece.sum() > 0.04 * found[-1].sum()]  # specks
    found = [piece for piece in found if not any(frames(piece, p) for p in found)]
    sides = [high - low for low, high in box(torch.stack(found).any(dim=0))]
    return found if max(sides) > SIZE / 12 else None


def frames(piece, other):
    return all(
        low < inner_low
        and inner_high < high
        and inner_high - inner_low > (high - low) / 6
        for (low, high), (inner_low, inner_high) in zip(box(piece), box(other))
    )


def box(mask):
    """Return the first row and the one after the last, and the same of the columns."""
    return [(int(i.min()), int(i.max()) + 1) for i in mask.nonzero().unbind(1)]


def check_shape(digit):
    whole = torch.stack(digit).any(dim=0)
    (top, bottom), (left, right) = box(whole)
    height, width = bottom - top, right - left
    boxes = [box(piece) for piece in digit]
    tall = sorted(columns for (a, b), columns in boxes if b - a > 0.6 * height)
    apart = any(this[1] < following[0] for this, following in pairwise(tall))
    if apart or width > 2 * height:
        sys.exit("error: this looks like several digits: give a picture of one")
    solid = whole.sum() > 0.8 * height * width and width > height / 2
    if solid or whole.float().mean() > 0.5:
        sys.exit("error: the ink is a blot, not a digit: give a picture of one digit")


def like_mnist(ink):
    """Return the ink as (1, 28, 28), with the size and the place of MNIST's digits."""
    (top, bottom), (left, right) = box(ink > 0)
    ink = ink[top:bottom, left:right]
    height, width = (max(1, round(20 * side / max(ink.shape))) for side in ink.shape)
    ink = resize(ink[None], [height, width], antialias=True)[0]
    ink /= ink.max()
    middle = (ink.nonzero() * ink[ink > 0][:, None]).sum(dim=0) / ink.sum()
    top, left = (24 - middle).round().int().tolist()
    image = torch.zeros(1, 48, 48)  # wide enough for a digit with its middle at its rim
    image[0, top : top + height, left : left + width] = ink
    return image[:, 10:38, 10:38]


def save_enlarged(image, path):
    picture = to_pil_image(image).resize((280, 280), Image.Resampling.NEAREST)
    try:
        picture.save(path, "PNG")
    except OSError as error:
        sys.exit(f"error: cannot save {path}: {error}")
    print(f"What the model was shown: {path}")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("picture", help="file of the picture, such as PNG or JPEG")
    parser.add_argument(
        "--checkpoint", default="mnist_dnn_model.pth", help="file train_mnist.py saved"
    )
    parser.add_argument(
        "--shown", default="shown.png", help="file for what the model is shown"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
