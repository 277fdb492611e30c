"""own_picture.py reads pictures of many kinds, made of digits of the test set."""

import sys
from pathlib import Path

import own_picture
import pytest
import torch
from helpers import CHECKPOINT, ROOT
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from readme import block
from torchvision.transforms.functional import to_pil_image

import train_mnist

BLUE, WHITE = (20, 20, 60), (250, 250, 245)


@pytest.fixture(scope="module")
def checkpoint(first_run):
    return first_run[0] / CHECKPOINT


@pytest.fixture(scope="module")
def digits(checkpoint):
    """The first digits of the test set: inks, digits, and how many the model reads."""
    images, targets = zip(*train_mnist.read_mnist(ROOT / "datasets", train=False)[:5])
    model = train_mnist.make_model()
    model.load_state_dict(torch.load(checkpoint))
    answers = model(torch.stack(images)).argmax(dim=1)
    expected = (answers == torch.tensor(targets)).sum()
    inks = [to_pil_image(image).resize((420, 420)) for image in images]
    return inks, targets, expected


@pytest.fixture
def read(checkpoint, home, monkeypatch, capsys):
    """A function that runs the program on files and returns the lines it prints."""

    def read(*paths, checkpoint=checkpoint):
        argv = ["own_picture.py", *paths, "--checkpoint", str(checkpoint)]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)  # the program lifts it
        own_picture.main()
        return capsys.readouterr().out.splitlines()

    return read


def paint(ink, color=BLUE, paper=WHITE, size=(800, 1000)):
    """Return a sheet of paper of that size with the ink in its middle."""
    page = Image.new("RGB", size, paper)
    page.paste(color, [(a - b) // 2 for a, b in zip(size, ink.size)], ink)
    return page


def white_on_transparent(ink):
    picture = Image.new("RGBA", ink.size, "white")
    picture.putalpha(ink)
    return picture


def turned_by_exif(ink):
    picture = paint(ink).transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[0x0112] = 6  # to be turned clockwise
    return picture


def turned_sheet(ink):
    sheet = paint(ink).convert("RGBA").rotate(7, expand=True)
    desk = Image.new("RGB", (1100, 1300), (60, 40, 30))
    desk.paste(sheet, [(a - b) // 2 for a, b in zip(desk.size, sheet.size)], sheet)
    return desk


def in_shadow(ink):
    light = Image.new("L", (800, 1000), 255)
    light.paste(150, (0, 0, 380, 1000))
    light = light.rotate(-10, fillcolor=150).filter(ImageFilter.GaussianBlur(40))
    return ImageChops.multiply(paint(ink), light.convert("RGB"))


def at_the_rim(ink):
    left, top, right, bottom = ink.point(lambda grey: 255 * (grey > 100)).getbbox()
    return paint(ink, size=ink.size).crop((left, top - 60, right + 60, bottom + 60))


def ruled(ink):
    page = paint(ink)
    for y in range(40, 1000, 80):
        ImageDraw.Draw(page).line((0, y, 800, y), (110, 120, 150), width=3)
    return page


KINDS = {
    "dark on light": paint,
    "light on dark": lambda ink: paint(ink, WHITE, (30, 70, 40)),
    "turned by EXIF": turned_by_exif,
    "white on transparent": white_on_transparent,
    "16-bit": lambda ink: (
        ink.convert("I").point(lambda v: v * 200 + 900).convert("I;16")
    ),
    "ruled": ruled,
    "shadow": in_shadow,
    "turned sheet": turned_sheet,
    "small": lambda ink: paint(ink.resize((70, 70)), size=(1500, 2000)),
    "at the rim": at_the_rim,
}


@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_picture(kind, read, digits):
    """The digits are read about as often as the model reads MNIST's own images."""
    inks, targets, expected = digits
    paths = [f"{number}.png" for number in range(5)]
    for ink, path in zip(inks, paths):
        picture = KINDS[kind](ink)
        picture.save(path, exif=picture.getexif())
    answers = [line.split(": ")[1][0] for line in read(*paths)[:-1]]
    right = sum(answer == str(digit) for answer, digit in zip(answers, targets))
    assert len(answers) == 5 and right >= expected - 1


FIVE = ((260, 180, 180, 340, 380, 360, 380, 480, 180, 480), (300, 120, 420, 120))
SEVEN = (180, 120, 420, 120, 280, 480)


def draw(path, *lines):
    picture = Image.new("L", (600, 600), 255)
    for line in lines:
        ImageDraw.Draw(picture).line(line, 0, width=40)
    picture.save(path)


def test_separate_strokes_are_one_digit_and_shown(read):
    draw("my.png", *FIVE)
    assert read("my.png")[-1] == "What the model was shown: shown.png"
    shown = Image.open("shown.png").convert("L")
    assert shown.height == 280
    assert shown.crop((150, 30, 220, 70)).getextrema()[1] > 200  # the bar


def test_a_line_for_each_picture(read, capsys):
    draw("seven.png", SEVEN)
    draw("blank.png")
    draw("cut.jpg", SEVEN)
    Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:-500])
    Path("phone.png").write_bytes(b"\0\0\0\x18ftypheic and so on")
    paths = ("missing.png", "blank.png", "cut.jpg", "phone.png", "seven.png")
    with pytest.raises(SystemExit, match="1"):
        read(*paths)
    lines = capsys.readouterr().out.splitlines()
    words = ("No such file", "no digit", "truncated", "identify", "7 (")
    for line, path, word in zip(lines, paths, words):
        assert line.startswith(f"{path}: ") and word in line
    assert lines[-2].count("%") == 3  # answers


def test_command_of_the_readme_and_a_checkpoint_that_holds_more(checkpoint, read):
    program, picture = block("sh own").split()[1:]
    assert Path(own_picture.__file__) == ROOT / program
    draw(picture, SEVEN)
    torch.save({"epoch": 3, "model": torch.load(checkpoint)}, CHECKPOINT)
    assert read(picture, checkpoint=CHECKPOINT) == read(picture)
