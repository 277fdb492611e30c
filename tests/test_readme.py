"""The README, tried as its reader tries it: commands, blocks, tables, links, claims."""

import inspect
import os
import re
import sys

import experiments
import pytest
import torch
from conftest import CHECKPOINT, ROOT, SCRIPT, run
from PIL import Image
from readme import block, blocks, only, rows, section
from torch import nn

import train_mnist

READMES = ["README.md", "tests/README.md"]


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def test_shown_output_is_that_of_a_run(clone):
    """But for the times, and for the last digits, which depend on the machine."""
    flags = ["--device", "cpu", "--epochs", 1]
    output, _ = run(sys.executable, SCRIPT.name, *flags, cwd=clone)
    lines = output.replace("[1/1]", "[1/10]").splitlines()
    shown = block("Run it", "Device: ").splitlines()
    assert (shown.pop(3), shown.pop(-3)) == ("...", "...")
    last = shown.pop(-2)
    assert last.startswith("Model Accuracy: " + rows(section("Change one thing"))[0][1])
    for line, other in zip(shown, lines[:3] + lines[-3:], strict=True):
        line, other = (text.split(", Time")[0] for text in (line, other))
        assert re.sub(r"\d+\.\d+", "", line) == re.sub(r"\d+\.\d+", "", other)
        assert numbers(line) == pytest.approx(numbers(other), abs=0.02)


def test_use_the_result(clone):
    """After the run of the test before, or of one of its own."""
    if not (clone / CHECKPOINT).exists():
        run(sys.executable, SCRIPT.name, "--device", "cpu", "--epochs", 1, cwd=clone)
    code = block("Use the result", "import torch")
    lines = run(sys.executable, "-c", code, cwd=clone)[0].splitlines()
    assert lines[0] == "This 7 is taken for a 7"
    assert re.fullmatch(r"Accuracy: 82\.\d\d %", lines[1])


def test_steps_link_to_their_lines():
    lines = SCRIPT.read_text("utf-8").splitlines()
    headings = [
        i for i, line in enumerate(lines) if re.match(r" +# (\d\. |Checkpoint$)", line)
    ]
    ends = [*headings[1:], lines.index('    print(f"Checkpoint: {args.checkpoint}")')]
    links = re.findall(
        r"\[([^\]]*)\]\(train_mnist.py#L(\d+)-L(\d+)\)", section("The six steps")
    )
    for name, first, last in links:
        first, last = int(first), int(last)
        if name.startswith("`"):
            source, start = inspect.getsourcelines(
                getattr(train_mnist, name.strip("`"))
            )
            assert (first, last) == (start, start + len(source) - 1)
        else:
            number = headings.index(first - 1)
            assert f"# {name.removeprefix('step ')}" in lines[first - 1].lower()
            assert lines[last - 1] and not any(lines[last : ends[number]])
    assert len(links) == 7 + 3


def test_steps_have_the_shapes_and_types_of_the_table():
    train, test = (
        train_mnist.read_mnist(ROOT / "datasets", part) for part in (True, False)
    )
    assert (len(train), len(test)) == (937 * 64 + 32, 156 * 64 + 16)
    inputs, targets = next(iter(torch.utils.data.DataLoader(train, 64)))
    model = train_mnist.make_model()
    outputs = model(inputs.reshape(-1, 784))
    loss = nn.CrossEntropyLoss()(outputs, targets)
    shapes = [tuple(t.shape) for t in (inputs, targets, outputs, loss)]
    assert shapes == [(64, 1, 28, 28), (64,), (64, 10), ()]
    table = section("The six steps")
    for shape in ("`(n, 1, 28, 28)`", "`(n,)`", "`(n, 784)`", "`(n, 10)`", "a scalar"):
        assert shape in table
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes == [(1024, 784), (1024,), (10, 1024), (10,)]
    assert all(f"`{shape}`" in table for shape in shapes)
    types = (inputs.dtype, targets.dtype, type(train[0][1]), inputs.min(), inputs.max())
    assert types == (torch.float32, torch.int64, int, 0, 1)


def test_both_languages_have_the_same_blocks():
    english = blocks(section("Run it")) + blocks(section("Use the result"))
    korean = blocks(section("한국어 안내"))
    assert len(korean) == 6 and all(english.count(text) == 1 for text in korean)


@pytest.mark.parametrize("file", READMES)
def test_links_lead_somewhere_and_pictures_fit(file):
    text = (ROOT / file).read_text("utf-8")
    titles = re.findall(r"^##+ (.*)", text, re.MULTILINE)
    anchors = [re.sub(r"[^\w\s-]", "", t).lower().replace(" ", "-") for t in titles]
    assert len(anchors) == len(set(anchors))
    for target in re.findall(r"\]\(([^)]*)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / file).parent.joinpath(target.split("#")[0]).exists()
        if target.endswith(".png"):
            assert (ROOT / target).stat().st_size < 100_000
            assert Image.open(ROOT / target).width <= 830  # GitHub shows no more


def test_experiments_are_those_of_the_table():
    table = rows(section("Change one thing"))
    assert [name for name, *_ in table] == list(experiments.EXPERIMENTS)
    assert all(re.fullmatch(r"\d\d\.\d\d %", accuracy) for _, accuracy, _ in table)


def test_every_file_of_the_tests_is_explained():
    listed = [
        cells[0].strip("`") for cells in rows(section("The files", "tests/README.md"))
    ]
    paths = [*ROOT.glob("tests/*.py"), *ROOT.glob("tests/examples/*.py")]
    assert sorted(listed) == sorted(
        path.relative_to(ROOT / "tests").as_posix() for path in paths
    )


COMMANDS = [  # (as typed, flags that make it shorter, what it prints)
    ("python train_mnist.py --help", "", r"--checkpoint CHECKPOINT"),
    ("OMP_NUM_THREADS=1 python train_mnist.py", "--epochs 1", r"Model Accuracy: 82\.\d\d %"),
    ("python tests/experiments.py", "--epochs 1 --only batch", r"\d\d\.\d\d % `--batch-size 256`\n"),
    ("python tests/benchmark.py", "--rounds 1 --epochs 2", r"\| bare loop .*\n\nThe script: \d"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(("command", "flags", "printed"), COMMANDS)
def test_command(home, monkeypatch, command, flags, printed):
    texts = "".join((ROOT / file).read_text("utf-8") for file in READMES)
    assert command in texts
    typed = command.replace("python ", f"{sys.executable} {ROOT}/") + f" {flags}"
    assert re.search(printed, run("sh", "-c", typed, cwd=home)[0])


def test_what_is_not_there_or_twice_is_an_error():
    for found in ([], ["a", "a"]):
        with pytest.raises(ValueError, match="not once: a word"):
            only(found, "a word")
