"""The documents, tried as a reader tries them: blocks, tables, links and claims."""

import os
import re
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from documents import (
    CHANGES,
    KOREAN,
    README,
    SCRIPT_TEXT,
    block,
    blocks,
    changes,
    table,
)
from experiments import EXPERIMENTS, MISTAKES
from helpers import CHECKPOINT, ROOT, run, without_times
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import train_mnist

TESTS = ROOT.joinpath("tests", "README.md").read_text("utf-8")
PAGES = {
    "README.md": README,
    ".github/changes.md": CHANGES,
    ".github/korean.md": KOREAN,
    "tests/README.md": TESTS,
}
MEASURED = table("| change | accuracy | what it teaches |")


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.?\d*", line)]


def test_shown_output_is_that_of_a_run(first_run):
    """But for the times, and for the last digits, which depend on the machine.

    The tenth epoch's accuracy, which .ci/run compares, is also that of the experiments.
    """
    device, step, _, epoch, _, tenth, saved = block("text output").splitlines()
    lowest, highest = numbers(MEASURED[0][1])
    assert lowest <= numbers(tenth)[0] <= highest
    run = [line.replace("/2]", "/10]") for line in first_run[1]]
    printed = run[0], run[100], run[939], run[-1]
    shown = without_times((device, step, epoch, saved))
    for line, other in zip(shown, without_times(printed)):
        assert re.sub(r"\d+\.\d+", "", line) == re.sub(r"\d+\.\d+", "", other)
        assert numbers(line) == pytest.approx(numbers(other), abs=0.02)


def test_use_the_result(first_run, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # where datasets is
    checkpoint = first_run[0] / CHECKPOINT
    exec(block("python use_model.py").replace(CHECKPOINT, checkpoint.as_posix()), {})
    assert capsys.readouterr().out == "Digit: 7, answer: 7\n"


def test_steps_have_the_shapes_of_the_table():
    train, test = (
        train_mnist.read_mnist(ROOT / "datasets", train) for train in (True, False)
    )
    assert (len(train), len(test)) == (937 * 64 + 32, 156 * 64 + 16)
    train_loader, eval_loader = DataLoader(train, 64), DataLoader(test, 64)
    assert f"| {len(train_loader)} batches an epoch |" in README
    assert f"| {len(eval_loader)} batches of the test set |" in README
    inputs, targets = next(iter(train_loader))
    model = train_mnist.make_model()
    outputs = model(inputs)
    loss = nn.CrossEntropyLoss()(outputs, targets)
    shapes = [tuple(tensor.shape) for tensor in (inputs, targets, outputs, loss)]
    assert shapes == [(64, 1, 28, 28), (64,), (64, 10), ()]
    assert (inputs.dtype, inputs.min(), inputs.max()) == (torch.float32, 0, 1)
    assert (targets.dtype, targets.min(), targets.max()) == (torch.int64, 0, 9)
    for shape in ("`(n, 1, 28, 28)`", "`(n,)`", "`(n, 784)`", "`(n, 10)`"):
        assert shape in README
    for parameter in model.parameters():
        assert f"`{tuple(parameter.shape)}`" in README


def test_both_languages_have_the_same_blocks_and_lines():
    """The Korean guide has some of its own."""
    english, korean = blocks(README), blocks(KOREAN)
    own = {"py step", "diff tutorial-2", "python tutorial-2"}
    assert korean.keys() - english.keys() == own
    for name in korean.keys() - own:
        assert korean[name] == english[name], name
    lines = [row[2] for row in table("| change | where | line |")]
    assert lines == [row[2] for row in table("| 바꿀 것 | 위치 | 코드 |", KOREAN)]


def test_korean_lines_are_those_of_the_script():
    step = [line.split("  #")[0] for line in block("py step", KOREAN).splitlines()]
    script = [line.strip().split("  #")[0] for line in SCRIPT_TEXT.splitlines()]
    start = script.index(step[0])
    assert [line.strip() for line in step] == script[start : start + len(step)]
    for row in table("| 글의 줄 | 스크립트의 줄 | 이유 |", KOREAN):
        for code in re.findall("`(.*?)`", row[1]):
            assert code in SCRIPT_TEXT


def test_code_has_short_lines():
    for info, content in blocks("".join(PAGES.values())).items():
        if info.startswith(("diff", "python")):
            longest = 89 if info.startswith("diff") else 88
            assert max(map(len, content.splitlines())) <= longest, info


PROGRAM = [sys.executable, ROOT / "tests" / "readme.py"]


def test_program_makes_several_changes(home):
    run(*PROGRAM, "ReLU", "loss curve", "--save", "changed.py", cwd=home)
    script = Path("changed.py").read_text("utf-8")
    assert "nn.ReLU()," in script and "import matplotlib" in script
    (names,) = re.findall("^Names.*", CHANGES, re.M)
    assert {*re.findall('`"?(.*?)"?`', names)} == changes().keys() - {"tutorial-2"}


@pytest.mark.parametrize(
    ("name", "words"),
    [("relu", "no change 'relu', only: .*"), ("photos", "'photos' does not fit: ")],
)
def test_program_says_what_it_cannot_do(home, name, words):
    command = *PROGRAM, "ReLU", name, "--save", "changed.py"
    assert re.search(f"error: {words}", run(*command, cwd=home, status=2)[1])
    assert os.listdir() == []


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


def test_tables_have_what_the_experiments_measure():
    mistakes = table("| accuracy | mistake | cure |")
    assert [name.replace("`", "") for name, *_ in MEASURED] == list(EXPERIMENTS)
    assert [name.replace("`", "") for _, name, _ in mistakes] == list(MISTAKES)
    for _, accuracy, _ in MEASURED:
        assert re.fullmatch(r"\d\d\.\d\d to \d\d\.\d\d %", accuracy)
    korean = table("| 바꾼 것 | 정확도 | 알 수 있는 것 |", KOREAN)
    assert [numbers(row[1]) for row in korean] == [numbers(row[1]) for row in MEASURED]
    korean = table("| 정확도 | 실수 | 해결 방법 |", KOREAN)
    assert [numbers(row[0]) for row in korean] == [numbers(row[0]) for row in mistakes]


@pytest.mark.parametrize("name", ["vgg11", "densenet121"])
def test_vgg_and_densenet_need_32_by_32(name):
    """As the Korean guide says, where PyTorch's documentation does not."""
    with torch.device("meta"):  # computes shapes only
        model = torchvision.models.get_model(name, num_classes=10)
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
        with pytest.raises(RuntimeError, match="Output size is too small"):
            model(torch.rand(2, 3, 28, 28))
