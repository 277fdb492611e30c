"""The READMEs, tried as a reader tries them: blocks, tables, links and claims."""

import re
import sys

import experiments
import pytest
import torch
import torchvision
from conftest import CHECKPOINT, ROOT, run, without_times
from PIL import Image
from readme import KOREAN, README, apply, block, blocks, diffs, table
from torch import nn

import train_mnist

TESTS = ROOT.joinpath("tests", "README.md").read_text("utf-8")
PAGES = {"README.md": README, ".github/README.ko.md": KOREAN, "tests/README.md": TESTS}
EXPERIMENTS = table("| change | accuracy | what it teaches |")


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def test_shown_output_is_that_of_a_run(first_run):
    """But for the times, and for the last digits, which depend on the machine."""
    lines = [line.replace("/2]", "/10]") for line in first_run[1]]
    shown = block("Device: cpu").splitlines()
    assert (shown.pop(2), shown.pop(-3)) == ("...", "...")
    assert shown.pop(-2).startswith(f"Model Accuracy: {EXPERIMENTS[0][1]}, ")
    printed = [lines[number] for number in (0, 100, 939, -1)]
    for line, other in zip(without_times(shown), without_times(printed)):
        assert re.sub(r"\d+\.\d+", "", line) == re.sub(r"\d+\.\d+", "", other)
        assert numbers(line) == pytest.approx(numbers(other), abs=0.02)


def test_use_the_result(first_run, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # where datasets is
    checkpoint = first_run[0] / CHECKPOINT
    code = block("import make_model, read_mnist")
    exec(code.replace(CHECKPOINT, checkpoint.as_posix()), {})
    assert capsys.readouterr().out == "Digit: 7, answer: 7\n"


def test_flags_are_those_of_the_tables(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_mnist.py"])
    args = vars(train_mnist.parse_args())
    english = table("| flag | default | meaning |")
    korean = table("| 옵션 | 기본값 | 뜻 |", KOREAN)
    for rows in (english, korean):
        flags = [flag.strip("`-").replace("-", "_") for flag, _, _ in rows]
        assert flags == list(args)
    for name, row, other in zip(args, english, korean):
        if name not in ("device", "data_dir"):  # they depend on the machine
            assert row[1] == other[1] == f"`{args[name]}`"


def test_steps_have_the_shapes_of_the_table():
    train, test = (
        train_mnist.read_mnist(ROOT / "datasets", train) for train in (True, False)
    )
    assert (len(train), len(test)) == (937 * 64 + 32, 156 * 64 + 16)
    inputs, targets = next(iter(torch.utils.data.DataLoader(train, 64)))
    model = train_mnist.make_model()
    outputs = model(inputs.flatten(1))
    loss = nn.CrossEntropyLoss()(outputs, targets)
    shapes = [tuple(tensor.shape) for tensor in (inputs, targets, outputs, loss)]
    assert shapes == [(64, 1, 28, 28), (64,), (64, 10), ()]
    assert (inputs.dtype, inputs.min(), inputs.max()) == (torch.float32, 0, 1)
    assert (targets.dtype, targets.min(), targets.max()) == (torch.int64, 0, 9)
    for text in (README, KOREAN):
        for shape in ("`(n, 1, 28, 28)`", "`(n,)`", "`(n, 784)`", "`(n, 10)`"):
            assert shape in text
        for parameter in model.parameters():
            assert f"`{tuple(parameter.shape)}`" in text


def test_both_languages_have_the_same_blocks():
    """The Korean guide leaves out the diffs and classify.py, and links to them."""
    left_out = [*diffs().values(), block("import make_model, read_folder")]
    assert blocks(KOREAN) == [text for text in blocks(README) if text not in left_out]


@pytest.mark.parametrize("heading", diffs())
def test_diff_has_short_lines_and_is_in_the_korean_guide(heading):
    assert f"(../README.md#{anchor(heading)})" in KOREAN
    assert all(len(line) <= 88 for line in apply(diffs()[heading]).splitlines())


def anchor(heading):
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\s-]", "", heading).lower().replace(" ", "-")


@pytest.mark.parametrize("file", PAGES)
def test_links_lead_somewhere_and_pictures_fit(file):
    for target in re.findall(r"\]\(([^)]*)\)", PAGES[file]):
        if target.startswith("https://"):
            continue
        path, _, part = target.partition("#")
        path = (ROOT / file).parent / path if path else ROOT / file
        assert path.exists()
        if part:
            titles = re.findall(r"^##+ (.*)", path.read_text("utf-8"), re.MULTILINE)
            assert [anchor(title) for title in titles].count(part) == 1
        if path.suffix == ".png":
            assert path.stat().st_size < 100_000
            assert Image.open(path).width <= 830  # GitHub shows no more


def test_experiments_are_those_of_both_tables():
    assert [name for name, *_ in EXPERIMENTS] == list(experiments.EXPERIMENTS)
    korean = table("| 바꾼 것 | 정확도 | 알 수 있는 것 |", KOREAN)
    accuracies = [accuracy for _, accuracy, _ in EXPERIMENTS]
    assert all(re.fullmatch(r"\d\d\.\d\d %", accuracy) for accuracy in accuracies)
    assert [row[1] for row in korean] == [text.replace(" ", "") for text in accuracies]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "flags", "printed"),
    [
        ("experiments.py", "--epochs 1 --only batch", r"`--batch-size 256`\n"),
        ("benchmark.py", "--rounds 1 --epochs 2", r"\n\nThe script: \d"),
    ],
)
def test_measuring(home, program, flags, printed):
    output, _ = run(sys.executable, ROOT / "tests" / program, *flags.split(), cwd=home)
    assert re.search(printed, output)


# What the pages say about PyTorch, where PyTorch's documentation does not say it


@pytest.mark.parametrize(
    "make", [torchvision.models.vgg11, torchvision.models.densenet121]
)
def test_vgg_and_densenet_need_32_by_32(make):
    with torch.device("meta"):  # computes shapes only
        model = make(num_classes=10)
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
        with pytest.raises(RuntimeError, match="Output size is too small"):
            model(torch.rand(2, 3, 28, 28))


@pytest.mark.parametrize("training", [True, False])
def test_modes_do_not_switch_autograd(training):
    model = train_mnist.make_model().train(training)
    assert model(torch.rand(8, 784)).requires_grad
