"""The documents, tried as a reader tries them: blocks, tables, links and claims."""

import os
import re
import shlex
import sys
from pathlib import Path

import documents
import pytest
import torch
from documents import (
    CHANGES,
    KOREAN,
    README,
    SCRIPT_TEXT,
    block,
    blocks,
    changes,
    make,
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
    own = korean.keys() - english.keys()
    names = "py step, diff tutorial-2, python tutorial-2, python classify_photo.py"
    assert own == {*names.split(", ")}
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


@pytest.mark.parametrize("page", [README, CHANGES, KOREAN])
def test_commands_that_make_changes(home, page):
    commands = re.findall(r"python tests/examples/change\.py .*\.py\b", page)
    assert commands
    for _, program, *names, _, file in map(shlex.split, commands):
        run(sys.executable, ROOT / program, *names, "--save", file, cwd=home)
        assert Path(file).read_text("utf-8") == make(*names)


def test_page_of_changes_names_all():
    (names,) = re.findall("^Names.*", CHANGES, re.M)
    named = {*re.findall('`"?(.*?)"?`', names)}
    assert named == {name for name in changes() if "+" not in name} - {"tutorial-2"}


@pytest.mark.parametrize(
    ("names", "file", "words"),
    [
        (["ReLU", "relu"], "changed.py", "no change 'relu', only: .*"),
        (
            ["ReLU", "going on", "loss curve"],
            "changed.py",
            "'loss curve' does not fit: ",
        ),
        (["ReLU"], "missing/changed.py", ".*No such file or directory: "),
    ],
)
def test_program_says_what_it_cannot_do(home, names, file, words):
    command = sys.executable, ROOT / "tests/examples/change.py", *names, "--save", file
    _, error = run(*command, cwd=home, status=2)
    assert re.search(f"^change.py: error: {words}", error, re.M)
    assert "Traceback" not in error and os.listdir() == []


def test_script_that_was_changed_is_refused(monkeypatch):
    wrapped = SCRIPT_TEXT.replace(
        "torch.optim.SGD(model", "torch.optim.SGD(\n        model"
    )
    monkeypatch.setattr(documents, "SCRIPT_TEXT", wrapped)
    with pytest.raises(ValueError, match="^train_mnist.py has been changed: restore"):
        make("Adam")


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


def test_experiments_are_those_of_the_table():
    assert [name.replace("`", "") for name, *_ in MEASURED] == list(EXPERIMENTS)
    for _, accuracy, _ in MEASURED:
        assert re.fullmatch(r"\d\d\.\d\d to \d\d\.\d\d %", accuracy)
    korean = table("| 바꾼 것 | 정확도 | 알 수 있는 것 |", KOREAN)
    assert [numbers(row[1]) for row in korean] == [numbers(row[1]) for row in MEASURED]


def test_mistakes_are_those_of_the_table():
    english = table("| accuracy | mistake | to see it | cure |")
    korean = table("| 정확도 | 실수 | 따라 하기 | 해결 방법 |", KOREAN)
    assert [name.replace("`", "") for _, name, *_ in english] == list(MISTAKES)
    for row, korean_row, change in zip(english, korean, MISTAKES.values()):
        assert numbers(row[0]) == numbers(korean_row[0])
        codes = re.findall("`(.*?)`", row[2])
        assert codes == re.findall("`(.*?)`", korean_row[2])
        assert all(code in " ".join(change) for code in codes)
