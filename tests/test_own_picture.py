"""own_picture.py reads pictures of many kinds, made of digits of the test set."""

import io
import sys
from pathlib import Path

import own_picture
import pytest
import torch
from conftest import CHECKPOINT, ROOT
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from torchvision.transforms.functional import to_pil_image

import train_mnist

BLUE, WHITE = (20, 20, 60), (250, 250, 245)


@pytest.fixture
def checkpoint(first_run):
    return first_run[0] / CHECKPOINT


@pytest.fixture
def read(checkpoint, home, monkeypatch, capsys):
    """A function that runs the program on files and returns the lines it prints."""

    def read(*paths, checkpoint=checkpoint):
        argv = ["own_picture.py", *paths, "--checkpoint", checkpoint]
        monkeypatch.setattr(sys, "argv", [*map(str, argv)])
        own_picture.main()
        return capsys.readouterr().out.splitlines()

    return read


def paint(ink, color=BLUE, paper=WHITE, size=(800, 1000)):
    """Return a sheet of paper of that size with the ink in its middle."""
    page = Image.new("RGB", size, paper)
    page.paste(color, [(a - b) // 2 for a, b in zip(size, ink.size)], ink)
    return page


def with_lines(picture, lines, color=BLUE, width=9):
    for line in lines:
        ImageDraw.Draw(picture).line(line, color, width)
    return picture


def noisy(picture):
    noise = torch.randn(picture.height, picture.width, 1).mul(15).add(128)
    noise = Image.fromarray(noise.clamp(0, 255).byte().expand(-1, -1, 3).numpy())
    return ImageChops.add(picture, noise, offset=-128)


def jpeg(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=10)
    return Image.open(buffer)


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


SPECKS = [(x, x, x + 9, x) for x in (20, 90, 160, 640, 700, 760)]
RULES = [(0, y, 800, y) for y in range(40, 1000, 80)]
SQUARES = RULES + [(x, 0, x, 1000) for x in range(20, 800, 80)]
KINDS = {
    "dark on light": paint,
    "light on dark": lambda ink: paint(ink, WHITE, (30, 70, 40)),
    "pencil": lambda ink: noisy(paint(ink, (150, 150, 155))),
    "turned by EXIF": turned_by_exif,
    "white on transparent": white_on_transparent,
    "16-bit": lambda ink: (
        ink.convert("I").point(lambda v: v * 200 + 900).convert("I;16")
    ),
    "JPEG of low quality": lambda ink: jpeg(paint(ink)),
    "specks": lambda ink: with_lines(paint(ink), SPECKS),
    "squared": lambda ink: with_lines(paint(ink), SQUARES, (185, 200, 225), 2),
    "ruled": lambda ink: with_lines(paint(ink), RULES, (110, 120, 150), 3),
    "shadow": in_shadow,
    "turned sheet": turned_sheet,
    "small": lambda ink: paint(ink.resize((70, 70)), size=(1500, 2000)),
    "at the rim": at_the_rim,
}
QUICK = ["turned by EXIF", "white on transparent", "16-bit", "turned sheet", "small"]


def check(kind, count, read, checkpoint):
    """Read the first digits of the test set about as often as the model does."""
    torch.manual_seed(0)  # for the noise
    samples = train_mnist.read_mnist(ROOT / "datasets", train=False)[:count]
    model = train_mnist.make_model()
    model.load_state_dict(torch.load(checkpoint))
    expected = sum(
        model(image.flatten(1)).argmax() == digit for image, digit in samples
    )
    paths = []
    for number, (image, _) in enumerate(samples):
        ink = to_pil_image(image).resize((420, 420), Image.Resampling.BICUBIC)
        picture = KINDS[kind](ink)
        paths.append(f"{number}.{picture.format or 'png'}")
        picture.save(paths[-1], exif=picture.getexif())
    answers = [line.split(": ")[1][0] for line in read(*paths)[:-1]]
    right = sum(answer == str(digit) for answer, (_, digit) in zip(answers, samples))
    assert len(answers) == count and right >= 0.9 * expected - 1


@pytest.mark.parametrize("kind", QUICK)
def test_some_kinds(kind, read, checkpoint):
    check(kind, 4, read, checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, read, checkpoint):
    check(kind, 20, read, checkpoint)


FIVE = ((260, 180, 180, 340, 380, 360, 380, 480, 180, 480), (300, 120, 420, 120))
SEVEN = (180, 120, 420, 120, 280, 480)


def draw(*lines, width=40):
    return with_lines(Image.new("L", (600, 600), 255), lines, 0, width)


@pytest.mark.parametrize("width", [40, 5])
def test_pens(width, read):
    draw(SEVEN, width=width).save("my.png")
    assert read("my.png")[0].startswith("my.png: 7 (")


def test_separate_strokes_are_one_digit_and_shown(read):
    draw(*FIVE).save("my.png")
    assert read("my.png")[-1] == "What the model was shown: shown.png"
    shown = Image.open("shown.png").convert("L")
    assert shown.height == 280
    assert shown.crop((150, 30, 220, 70)).getextrema()[1] > 200  # the bar


def test_a_line_for_each_picture(read, capsys):
    draw(SEVEN).save("seven.png")
    Image.new("L", (300, 300), 200).save("blank.png")
    draw(SEVEN).save("cut.jpg")
    Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:-500])
    Path("phone.png").write_bytes(b"\0\0\0\x18ftypheic and so on")
    Image.new("L", (3000, 1)).save("narrow.png")
    paths = ("missing.png", "blank.png", "cut.jpg", "phone.png", "narrow.png")
    with pytest.raises(SystemExit, match="1"):
        read(*paths, "seven.png")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [*paths, "seven.png"]
    words = (
        "No such file",
        "no digit",
        "truncated",
        "cannot identify",
        "no digit",
        "7 (",
    )
    assert all(word in line for word, line in zip(words, lines))


def test_large_photograph_is_read_at_a_smaller_size(home, monkeypatch):
    draw(SEVEN).resize((8000, 6000)).save("photo.jpg")
    sizes, convert = [], Image.Image.convert

    def spy(picture, *args):
        sizes.append(picture.size)
        return convert(picture, *args)

    monkeypatch.setattr(Image.Image, "convert", spy)
    assert own_picture.read_picture("photo.jpg").shape == (3, 768, 1024)
    assert set(sizes) == {(2000, 1500)}


def test_checkpoint_that_holds_more(checkpoint, read):
    draw(SEVEN).save("my.png")
    torch.save({"epoch": 3, "model": torch.load(checkpoint)}, CHECKPOINT)
    assert read("my.png", checkpoint=CHECKPOINT) == read("my.png")
