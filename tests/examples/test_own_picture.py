"""Tests of own_picture.py, given pictures of every kind, made of digits of the test set."""

import io
import sys
from pathlib import Path

import own_picture
import pytest
import torch
from conftest import CHECKPOINT, ROOT
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from torchvision.transforms.functional import to_pil_image, to_tensor

import train_mnist

BLUE, WHITE, DESK = (20, 20, 60), (250, 250, 245), (60, 40, 30)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "model.pth"
    flags = ["--epochs", "1", "--lr", "0.1", "--device", "cpu", "--checkpoint", path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_mnist.py", *map(str, flags)])
        train_mnist.main()
    return path


@pytest.fixture
def read(checkpoint, home, monkeypatch, capsys):
    """Run the example on files; return its lines, of which the last tells of shown.png."""

    def read(*paths, status=0):
        argv = ["own_picture.py", *paths, "--checkpoint", checkpoint]
        monkeypatch.setattr(sys, "argv", [*map(str, argv)])
        try:
            own_picture.main()
        except SystemExit as stop:
            assert stop.code == status
        else:
            assert status == 0
        return capsys.readouterr().out.splitlines()

    return read


def paint(ink, color=BLUE, paper=WHITE, size=(420, 420)):
    page = Image.new("RGB", size, paper)
    page.paste(color, [(a - b) // 2 for a, b in zip(size, ink.size)], ink)
    return page


def on_desk(ink, angle=0, size=(1100, 1300), desk=DESK):
    page = paint(ink, size=(800, 1000)).convert("RGBA").rotate(angle, expand=True)
    picture = Image.new("RGB", size, desk)
    picture.paste(page, [(a - b) // 2 for a, b in zip(size, page.size)], page)
    return picture


def under(light, picture):
    return ImageChops.multiply(picture, light.resize(picture.size).convert("RGB"))


def with_lines(picture, lines, color=BLUE, width=9):
    for line in lines:
        ImageDraw.Draw(picture).line(line, color, width)
    return picture


def on_page(ink):
    return paint(ink, size=(800, 1000))


def noisy(picture, strength, grain=1):
    colours = to_tensor(picture)
    height, width = (side // grain + 1 for side in picture.size[::-1])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(height, width, generator=generator)
    noise = noise.repeat_interleave(grain, 0).repeat_interleave(grain, 1)
    noise = noise[: picture.height, : picture.width]
    return to_pil_image((colours + strength * noise).clamp(0, 1))


def jpeg(ink):
    buffer = io.BytesIO()
    paint(ink).save(buffer, "JPEG", quality=10)
    return Image.open(buffer)


def transparent(ink, color):
    picture = Image.new("RGBA", ink.size, color)
    picture.putalpha(ink)
    return picture


def turned_by_exif(ink):
    picture = paint(ink).transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[0x0112] = 6  # to be turned clockwise
    return picture


def off_centre(ink):
    page = Image.new("RGB", (1200, 1200), WHITE)
    page.paste(BLUE, (740, 700), ink)
    return page


def at_the_rim(ink):
    left, top, right, bottom = ink.point(lambda grey: 255 * (grey > 100)).getbbox()
    return paint(ink).crop((left, top - 60, right + 60, bottom + 60))


def with_a_phone(ink):
    picture = on_desk(ink)
    ImageDraw.Draw(picture).rectangle((0, 200, 190, 900), (10, 10, 12))
    return picture


FRAME = [(190, 290, 610, 290, 610, 710, 190, 710, 190, 286)]
SPECKS = [(x, x, x + 9, x) for x in (20, 90, 160, 640, 700, 760)]
RULES = [(0, y, 1100, y) for y in range(40, 1300, 80)]
SQUARES = [(x, 0, x, 1000) for x in range(20, 800, 50)]
SQUARES += [(0, y, 800, y) for y in range(20, 1000, 50)]
GRADIENT = Image.linear_gradient("L").rotate(90).point(lambda v: 255 - v * 0.6)
SHADOW = Image.new("L", (800, 1000), 255)
SHADOW.paste(150, (0, 0, 380, 1000))
SHADOW = SHADOW.rotate(-10, fillcolor=150).filter(ImageFilter.GaussianBlur(40))
EDGE = Image.new("L", (1100, 1300), 255)
EDGE.paste(140, (0, 0, 100, 1300))
KINDS = {
    "dark on light": paint,
    "light on dark": lambda ink: paint(ink, WHITE, (30, 70, 40)),
    "red on green as bright": lambda ink: paint(ink, (200, 0, 0), (0, 102, 0)),
    "turned by EXIF": turned_by_exif,
    "frame": lambda ink: with_lines(on_page(ink), FRAME),
    "specks": lambda ink: with_lines(on_page(ink), SPECKS),
    "desk": on_desk,
    "turned sheet": lambda ink: on_desk(ink, 7),
    "small sheet": lambda ink: on_desk(ink, -5, (1500, 1500)),
    "gradient": lambda ink: under(GRADIENT, on_page(ink)),
    "shadow": lambda ink: under(SHADOW, on_page(ink)),
    "JPEG of quality 10": jpeg,
    "transparent": lambda ink: transparent(ink, "black"),
    "white on transparent": lambda ink: transparent(ink, "white"),
    "palette": lambda ink: paint(ink).quantize(8),
    "1-bit": lambda ink: ImageOps.invert(ink).convert("1"),
    "16-bit": lambda ink: (
        ink.convert("I").point(lambda v: v * 200 + 900).convert("I;16")
    ),
    "noise": lambda ink: noisy(on_page(ink), 0.06),
    "more noise": lambda ink: noisy(on_page(ink), 0.12, grain=2),
    "noisy desk": lambda ink: noisy(on_desk(ink, 3), 0.05, grain=3),
    "light desk, shadow's edge": lambda ink: under(
        EDGE, on_desk(ink, desk=(205, 195, 180))
    ),
    "pencil": lambda ink: noisy(
        paint(ink, (150, 150, 155), size=(700, 900)), 0.03, grain=2
    ),
    "phone at the edge": with_a_phone,
    "squared paper": lambda ink: with_lines(on_page(ink), SQUARES, (185, 200, 225), 2),
    "ruled, dark lines": lambda ink: with_lines(
        on_page(ink), RULES, (110, 120, 150), 3
    ),
    "off centre": off_centre,
    "28 pixels in all": lambda ink: ImageOps.invert(ink.resize((28, 28))),
    "100 of 2000 pixels": lambda ink: paint(ink.resize((100, 100)), size=(1500, 2000)),
    "70 of 2000 pixels": lambda ink: paint(ink.resize((70, 70)), size=(1500, 2000)),
    "at the rim": at_the_rim,
}


def check(kind, count, checkpoint, read):
    """Read the first digits of the test split about as often as the model does."""
    model = own_picture.load_model(checkpoint)
    expected, paths, targets = 0, [], []
    for image, target in train_mnist.read_mnist(ROOT / "datasets", train=False)[:count]:
        expected += model(image.reshape(1, 784)).argmax() == target
        ink = to_pil_image(image).resize((420, 420), Image.Resampling.BICUBIC)
        picture = KINDS[kind](ink)
        paths.append(Path(f"{len(paths)}.{picture.format or 'png'}"))
        picture.save(paths[-1], exif=picture.getexif())
        targets.append(target)
    lines = read(*paths)[:-1]
    answers = [line.split(": ")[1][0] for line in lines]
    right = sum(
        answer == str(target) for answer, target in zip(answers, targets, strict=True)
    )
    allowed = 0.5 if kind == "at the rim" else 0.9  # a 1 cut off is a blot
    assert right >= allowed * expected - 1


@pytest.mark.parametrize(
    "kind", ["turned by EXIF", "turned sheet", "70 of 2000 pixels"]
)
def test_some_kinds(kind, checkpoint, read):
    check(kind, 6, checkpoint, read)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, checkpoint, read):
    check(kind, 20, checkpoint, read)


def draw(*lines, width=40, size=(600, 600)):
    return with_lines(Image.new("L", size, 255), lines, 0, width)


FIVE = ((260, 180, 180, 340, 380, 360, 380, 480, 180, 480), (300, 120, 420, 120))
SEVEN = (180, 120, 420, 120, 280, 480)


@pytest.mark.parametrize("width", [40, 20, 10, 5])
def test_thin_pens(width, read):
    draw(SEVEN, width=width).save("my.png")
    assert read("my.png")[0].startswith("my.png: 7 (")


def test_strokes_apart_are_one_digit_and_shown(read):
    draw(*FIVE).save("my.png")
    assert read("my.png")[-1] == "What the model was shown: shown.png"
    shown = Image.open("shown.png").convert("L")
    assert shown.height == 280
    assert shown.crop((150, 30, 220, 70)).getextrema()[1] > 200  # the bar


def test_a_frame_is_no_ink():
    corners = (60, 60, 540, 60, 540, 540, 60, 540, 60, 60)
    pictures = (draw(SEVEN), draw(SEVEN, corners))
    plain, framed = (
        own_picture.like_mnist(
            own_picture.find_digit(picture.convert("RGBA").convert("RGBa"))
        )
        for picture in pictures
    )
    assert (plain - framed).abs().mean() < 0.02


def test_several_pictures_and_a_line_for_each(read):
    draw(SEVEN).save("seven.png")
    Image.new("L", (300, 300), 200).save("blank.png")
    draw(SEVEN).save("cut.jpg")
    cut = Path("cut.jpg")
    cut.write_bytes(cut.read_bytes()[:-500])
    Path("phone.png").write_bytes(b"\0\0\0\x18ftypheic and so on")
    paths = ("missing.png", "blank.png", "cut.jpg", "phone.png", "seven.png")
    lines = read(*paths, status=1)
    assert [line.split(": ")[0] for line in lines[:-1]] == list(paths)
    words = ("No such file", "no digit found", "truncated", "ftypheic", "7 (")
    assert all(word in line for word, line in zip(words, lines))


def test_a_large_photo_is_not_read_whole(home, monkeypatch):
    draw(SEVEN, size=(8000, 6000)).save("photo.jpg")
    sizes, contain = [], ImageOps.contain
    monkeypatch.setattr(
        ImageOps, "contain", lambda im, size: sizes.append(im.size) or contain(im, size)
    )
    assert own_picture.read_picture("photo.jpg").size == (1024, 768)
    assert sizes == [(2000, 1500)]  # what was decoded


def test_checkpoint_that_holds_more(checkpoint, home):
    state = torch.load(checkpoint)
    torch.save({"model": state, "optimizer": {}}, CHECKPOINT)
    model = own_picture.load_model(CHECKPOINT)
    assert torch.equal(model[1].bias, state["1.bias"])
    assert not model.training


def test_checkpoint_that_holds_something_else(home):
    torch.save({"epoch": 3, "net": {}}, CHECKPOINT)
    with pytest.raises(SystemExit, match=f"error: {CHECKPOINT} holds epoch, net: not"):
        own_picture.load_model(CHECKPOINT)
