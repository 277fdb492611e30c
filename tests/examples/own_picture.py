"""Read your own pictures of handwritten digits, one digit each, with your model.

    python tests/examples/own_picture.py my_digit.jpg another.png

A digit may be drawn or photographed, dark on light or light on dark. Leave a margin of
paper around it, and no shadow with a hard edge across it: that is taken for ink.
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, max_pool2d
from torchvision.transforms.functional import resize, to_tensor
from torchvision.utils import save_image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from train_mnist import make_model

SIZE = 128  # pixels at the longer side of a picture while the digit is looked for
Image.MAX_IMAGE_PIXELS = None  # your own pictures may be as large as they are


def main():
    args = parse_args()
    model = load_model(args.checkpoint)
    images = []
    for path in args.pictures:
        try:
            picture = read_picture(path)
        except UnidentifiedImageError:  # such as a HEIC file that is called my.png
            start = Path(path).read_bytes()[:12]
            print(f"{path}: no format that Pillow reads, begins with {start}")
            continue
        except (OSError, SyntaxError) as error:  # a broken PNG is a SyntaxError
            print(f"{path}: {error}")
            continue
        ink = find_digit(picture)
        if ink is None:
            print(f"{path}: no digit found")
            continue
        image = like_mnist(ink)
        with torch.no_grad():
            chances = model(image.reshape(1, 28 * 28)).softmax(dim=1)[0]
        best = zip(*(values.tolist() for values in chances.topk(3)))
        answers = [f"{digit} ({100 * chance:.0f} %)" for chance, digit in best]
        print(f"{path}: {', '.join(answers)}")
        images.append(image)
    if images:
        save_image(interpolate(torch.stack(images), scale_factor=10), args.shown)
        print(f"What the model was shown: {args.shown}")
    if len(images) < len(args.pictures):
        sys.exit(1)


def load_model(path):
    """Return the model with the parameters of a checkpoint, or of its entry "model"."""
    model = make_model().eval()
    saved = torch.load(path, map_location="cpu")
    state = saved.get("model", saved)
    if state.keys() != model.state_dict().keys():
        sys.exit(f"error: {path} holds {', '.join(state)}: not what make_model() needs")
    model.load_state_dict(state)
    return model


def read_picture(path):
    """Return the picture of a file, as a small one: what is transparent has no colour."""
    picture = Image.open(path)
    picture.draft("RGB", (1024, 1024))  # reads no more of a JPEG than is needed
    if picture.mode[0] in "IF":  # more than 8 bits, which convert() would cut off
        low, high = picture.getextrema()
        scale = 255 / max(high - low, 1e-9)
        picture = picture.convert("F").point(lambda grey: grey * scale - low * scale)
        picture = picture.convert("L")
    if max(picture.size) > SIZE * min(picture.size):
        raise OSError(f"too narrow: {picture.width} x {picture.height} pixels")
    picture = ImageOps.contain(picture.convert("RGBA").convert("RGBa"), (1024, 1024))
    return ImageOps.exif_transpose(picture)  # phones turn a picture by a note in it


def find_digit(picture):
    """Return the ink of the digit (height, width), from 0 to 1, or None."""
    ink = find_ink(picture)
    if ink is None:
        return None
    top, left, bottom, right = box(ink > 0)
    side = max(bottom - top, right - left)
    if side > SIZE / 4:
        return ink
    scale = max(picture.size) / SIZE  # a small digit: once more, and nearer
    left, top = max(0, left - side) * scale, max(0, top - side) * scale
    right = min(picture.width, (right + side) * scale)
    bottom = min(picture.height, (bottom + side) * scale)
    return find_ink(
        picture.crop((round(left), round(top), round(right), round(bottom)))
    )


def find_ink(picture):
    """Return the ink of a digit that is large in its picture, or None."""
    picture = to_tensor(ImageOps.contain(picture, (SIZE, SIZE)))
    paper = find_paper(picture)
    ink = difference(picture, paper)
    around = pieces(~paper)
    rim = torch.cat([around[0], around[-1], around[:, 0], around[:, -1]])
    desk = torch.isin(around, rim) & ~paper
    if (ink * ~desk).max() > 0.15:  # else it is the digit that reaches the rim
        ink = ink * ~desk
    if ink.max() < 0.1:
        return None
    numbers = pieces(ink > 0.4 * ink.max())
    found, sizes = numbers[numbers > 0].unique(return_counts=True)
    strokes = [numbers == n for n in found[sizes > 0.04 * sizes.max()]]  # no specks
    boxes = [box(stroke) for stroke in strokes]
    strokes = [
        stroke
        for stroke, outer in zip(strokes, boxes)
        if not any(frames(outer, inner) for inner in boxes)
    ]
    strokes = torch.stack(strokes).any(dim=0)
    strength = ink / ink[strokes].quantile(0.8)
    near = max_pool2d(strokes[None].float(), 5, 1, 2)[0]  # keeps the soft edges
    return near * ((strength - 0.2) / 0.6).clamp(0, 1)  # a shade of the paper is no ink


def frames(outer, inner):
    """Tell whether a box goes all around another one of over a sixth of its height."""
    top, left, bottom, right = outer
    inner_top, inner_left, inner_bottom, inner_right = inner
    around = top < inner_top and left < inner_left
    around = around and inner_bottom < bottom and inner_right < right
    return around and inner_bottom - inner_top > (bottom - top) / 6


def box(mask):
    """Return the top, left, bottom and right of what is in a mask."""
    places = mask.nonzero()
    return *places.amin(dim=0).tolist(), *(places.amax(dim=0) + 1).tolist()


def find_paper(picture):
    """Return a mask of the paper, without soft edges of the ink and the like.

    Of the even areas, with all that match in colour, paper is the largest one; the
    middle of the picture counts more, as a desk may be larger than the sheet.
    """
    steps = (max_pool2d(picture, 5, 1, 2) + max_pool2d(-picture, 5, 1, 2)).amax(dim=0)
    contrast = (picture.amax(dim=(1, 2)) - picture.amin(dim=(1, 2))).max()
    even = steps <= max(0.2 * contrast, 2 * steps.median())  # in spite of noise
    rows, columns = (torch.bartlett_window(side, False) for side in even.shape)
    weights = 0.2 + torch.outer(rows, columns)
    numbers = pieces(even)
    found, sizes = numbers[even].unique(return_counts=True)
    papers = []
    for number in found[sizes.argsort()[-4:]]:
        piece = numbers == number
        ink = difference(picture, piece)
        papers.append(piece | (even & (ink <= 0.3 * ink.max())))
    return max(papers, key=lambda paper: weights[paper].sum())


def difference(picture, paper):
    """Return how far each pixel is from the paper near it, in the light there."""
    share = adaptive_avg_pool2d(paper[None].float(), 32)
    light = adaptive_avg_pool2d(picture * paper, 32) / share.clamp(min=1e-6)
    while not share.all():  # from the rim of the paper on, into what is not paper
        known = (share > 0).float()
        share = avg_pool2d(known, 3, 1, 1)
        average = avg_pool2d(light * known, 3, 1, 1) / share.clamp(min=1e-6)
        light = torch.where(known > 0, light, average)
    light = interpolate(light[None], paper.shape, mode="bilinear")[0]
    return ((picture - light).abs() / torch.maximum(light, 1 - light)).amax(dim=0)


def pieces(mask):
    """Number the connected pieces of a mask (height, width); 0 is what is not in it."""
    numbers = torch.arange(1.0, mask.numel() + 1).reshape(mask.shape) * mask
    while True:  # the highest number spreads over its piece
        spread = max_pool2d(numbers[None], 3, 1, 1)[0] * mask
        if torch.equal(spread, numbers):
            return numbers.long()
        numbers = spread


def like_mnist(ink):
    """Return the ink as (1, 28, 28), with the size and the place of MNIST's digits."""
    top, left, bottom, right = box(ink > 0)
    ink = ink[top:bottom, left:right]
    height, width = (max(1, round(20 * side / max(ink.shape))) for side in ink.shape)
    ink = resize(ink[None], [height, width], antialias=True)[0]
    ink /= ink.max()
    middle = (ink.nonzero() * ink[ink > 0][:, None]).sum(dim=0) / ink.sum()
    top, left = (24 - middle).round().int().tolist()
    image = torch.zeros(1, 48, 48)  # wide enough for a digit with its middle at its rim
    image[0, top : top + height, left : left + width] = ink
    return image[:, 10:38, 10:38]


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("pictures", nargs="+", help="files such as PNG or JPEG")
    parser.add_argument(
        "--checkpoint", default="mnist_dnn_model.pth", help="file train_mnist.py saved"
    )
    parser.add_argument(
        "--shown", default="shown.png", help="file for what the model was shown"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
