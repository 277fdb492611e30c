"""The documents, tried as a reader tries them: blocks, tables, links and claims."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from documents import CHANGES, KOREAN, README, block, blocks, make, table
from helpers import (
    CHECKPOINT,
    EXAMPLES,
    ROOT,
    SCRIPT,
    SCRIPTS,
    run,
    without_times,
)
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
    for tensor in (inputs, inputs.flatten(1), targets, outputs):
        shape = ", ".join(["n", *map(str, tensor.shape[1:])])
        assert f"`({shape})`" in README or f"`({shape},)`" in README
    assert loss.shape == ()
    assert (inputs.dtype, inputs.min(), inputs.max()) == (torch.float32, 0, 1)
    assert (targets.dtype, targets.min(), targets.max()) == (torch.int64, 0, 9)
    for parameter in model.parameters():
        assert f"`{tuple(parameter.shape)}`" in README


def test_both_languages_have_the_same_blocks_and_lines():
    """The Korean guide has some of its own."""
    english, korean = blocks(README), blocks(KOREAN)
    own = korean.keys() - english.keys()
    assert own == {"py step", "diff tutorial-2", "sh tutorial-2"}
    for name in korean.keys() - own:
        assert korean[name] == english[name], name
    lines = [row[2] for row in table("| change | where | line |")]
    assert lines == [row[2] for row in table("| 바꿀 것 | 위치 | 코드 |", KOREAN)]


def test_korean_lines_are_those_of_the_script():
    step = [line.split("  #")[0] for line in blocks(KOREAN)["py step"].splitlines()]
    script = [
        line.strip().split("  #")[0] for line in SCRIPTS["train_mnist.py"].splitlines()
    ]
    start = script.index(step[0])
    assert [line.strip() for line in step] == script[start : start + len(step)]
    for row in table("| 글의 줄 | 스크립트의 줄 | 이유 |", KOREAN):
        for code in re.findall("`(.*?)`", row[1]):
            assert code in SCRIPTS["train_mnist.py"]


@pytest.mark.parametrize("page", [README, CHANGES, KOREAN])
def test_commands_that_make_changes(home, page):
    """In copies of the script; a second command for one adds to the first."""
    commands = re.findall(r"tests/examples/change\.py (\w+\.py [^`\n]*\w\"?)", page)
    texts = {}
    for file, *names in map(shlex.split, commands):
        if file not in texts:
            texts[file] = SCRIPTS.get(file, SCRIPTS["train_mnist.py"])
            Path(file).write_text(texts[file], "utf-8")
        run(sys.executable, EXAMPLES / "change.py", file, *names, cwd=home)
        texts[file] = make(texts[file], *names)
        assert Path(file).read_text("utf-8") == texts[file]
    assert texts


def test_change_keeps_the_ends_of_lines(home, monkeypatch):
    """Those of Windows, too, where files are not in UTF-8 unless it is said."""
    for name, value in (
        ("LC_ALL", "C"),
        ("PYTHONUTF8", "0"),
        ("PYTHONCOERCECLOCALE", "0"),
    ):
        monkeypatch.setenv(name, value)
    text = SCRIPTS["train_table.py"]
    assert not text.isascii()
    Path("copy.py").write_bytes(text.replace("\n", "\r\n").encode())
    run(sys.executable, EXAMPLES / "change.py", "copy.py", "Adam", cwd=home)
    changed = make(text, "Adam").replace("\n", "\r\n")
    assert Path("copy.py").read_bytes() == changed.encode()


@pytest.mark.parametrize(
    ("file", "names", "status", "words"),
    [
        ("copy.py", ["relu"], 2, "change.py: error: .*'relu'"),
        (
            "copy.py",
            ["ReLU", "Adam", "momentum"],
            1,
            "error: 'momentum' does not fit: ",
        ),
        ("missing.py", ["ReLU"], 1, "error: .*No such file or directory: 'missing.py'"),
    ],
)
def test_program_says_what_it_cannot_do(home, file, names, status, words):
    """And changes nothing."""
    shutil.copy(SCRIPT, "copy.py")
    command = sys.executable, EXAMPLES / "change.py", file, *names
    _, error = run(*command, cwd=home, status=status)
    assert re.match(words, error.splitlines()[-1]) and "Traceback" not in error
    assert os.listdir() == ["copy.py"]
    assert Path("copy.py").read_bytes() == SCRIPT.read_bytes()


def test_help_lists_the_names(home):
    output, _ = run(sys.executable, EXAMPLES / "change.py", "--help", cwd=home)
    assert "ReLU, hidden layer, dropout" in " ".join(output.split())


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


@pytest.mark.parametrize(
    ("figure", "name"),
    [("90.4", "no change"), ("92.4", "`--lr 0.03`"), ("97.8", "ReLU, `--lr 0.1`")],
)
def test_figures_in_prose_are_those_of_the_table(figure, name):
    (accuracy,) = [accuracy for other, accuracy, _ in MEASURED if other == name]
    lowest, highest = numbers(accuracy)
    assert lowest - 0.05 <= float(figure) <= highest + 0.05
    assert f"{figure} %" in README and f"{figure}%" in KOREAN


def test_experiments_in_both_languages():
    for _, accuracy, _ in MEASURED:
        assert re.fullmatch(r"\d\d\.\d\d to \d\d\.\d\d %", accuracy)
    korean = table("| 바꾼 것 | 정확도 | 알 수 있는 것 |", KOREAN)
    assert [numbers(row[1]) for row in korean] == [numbers(row[1]) for row in MEASURED]


def test_mistakes_in_both_languages():
    english = table("| accuracy | mistake | to see it | symptom and cure |")
    korean = table("| 정확도 | 실수 | 따라 하기 | 증상과 해결 방법 |", KOREAN)
    assert len(english) == len(korean)
    for row, korean_row in zip(english, korean):
        assert numbers(row[0]) == numbers(korean_row[0])
        assert re.findall("`(.*?)`", row[2]) == re.findall("`(.*?)`", korean_row[2])
