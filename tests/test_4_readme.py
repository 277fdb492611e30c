"""The README, tried as its reader tries it: commands, blocks, tables, links, claims."""

import inspect
import os
import re
import sys

import pytest
import torch
from conftest import CHECKPOINT, ROOT, SCRIPT, run
from PIL import Image
from readme import README
from torch import nn

import train_mnist

BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def one_epoch(clone):
    """What a run of one epoch in the clone prints."""
    return run(sys.executable, SCRIPT.name, "--epochs", 1, cwd=clone)


def test_shown_output_is_that_of_a_run(one_epoch):
    """The first epoch's lines, but for the time, are what a run prints."""
    lines = re.sub(r"Time: .*", "", one_epoch.replace("[1/1]", "[1/10]")).splitlines()
    first, last = BLOCKS["text"].split("Model Accuracy: 90")
    for line in first.splitlines():
        assert line == "..." or re.sub(r"Time: .*", "", line) in lines
    assert last.endswith(f" s\nCheckpoint: {CHECKPOINT}\n")


def test_the_python_block_classifies_a_sample(one_epoch, clone):
    output = run(sys.executable, "-c", BLOCKS["python"], cwd=clone)
    assert output == "This 7 is taken for a 7\n"


def test_steps_link_to_their_lines():
    lines = SCRIPT.read_text("utf-8").splitlines()
    starts = [
        i for i, line in enumerate(lines) if re.match(" +# [1-6C]|    print.f.Ch", line)
    ]
    links = re.findall(r"\[([^\]]*)\]\(train_mnist.py#L(\d+)-L(\d+)\)", README)
    for name, first, last in links:
        if name.startswith("`"):
            source, start = inspect.getsourcelines(
                getattr(train_mnist, name.strip("`"))
            )
            assert (int(first), int(last)) == (start, start + len(source) - 1)
        else:
            number = starts.index(int(first) - 1)
            assert f"# {name.removeprefix('step ')}" in lines[starts[number]].lower()
            between = lines[int(last) : starts[number + 1]]
            assert lines[int(last) - 1] and not any(between)
    assert len(links) == 7 + 4


def test_steps_have_the_shapes_and_types_of_the_table(clone, one_epoch):
    train, test = (train_mnist.read_mnist(clone / "datasets", t) for t in (True, False))
    assert (len(train), len(test)) == (937 * 64 + 32, 156 * 64 + 16)
    inputs, targets = next(iter(torch.utils.data.DataLoader(train, 64)))
    model = train_mnist.make_model()
    logits = model(inputs.reshape(-1, 784))
    loss = nn.CrossEntropyLoss()(logits, targets)
    shapes = [tuple(t.shape) for t in (inputs, targets, logits, loss)]
    assert shapes == [(64, 1, 28, 28), (64,), (64, 10), ()]
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes == [(1024, 784), (1024,), (10, 1024), (10,)]
    types = (inputs.dtype, targets.dtype, type(train[0][1]), inputs.min(), inputs.max())
    assert types == (torch.float32, torch.int64, int, 0, 1)


def test_links_lead_somewhere_and_pictures_fit():
    titles = re.findall(r"^##+ (.*)", README, re.MULTILINE)
    anchors = [re.sub(r"[^\w\s-]", "", t).lower().replace(" ", "-") for t in titles]
    for target in re.findall(r"\]\(([^)]*)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / target.split("#")[0]).exists()
        if target.endswith(".png"):
            assert (ROOT / target).stat().st_size < 100_000
            assert Image.open(ROOT / target).width <= 830  # GitHub shows no more


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("command", "flags", "output"),
    [
        ("for seed in .*?; done", "--epochs 1", r"(Model.*\nCh.*\n){5}"),
        (r"\(for i in .*?wait\)", "", r"Checkpoint: [12]\.pth\n[^$]*[12]\.pth\n"),
        ("python tests/experiments.py", "--epochs 1 --rows 7", r"\d\d\.\d\d % .*256\n"),
        ("python tests/benchmark.py", "--rounds 1 --epochs 2", "times as fast.*\n.*\n.*fetch"),
    ],
)  # fmt: skip
def test_command(clone, command, flags, output):
    """Typed as it stands, but for flags that make it shorter."""
    (typed,) = re.findall(rf"`(?:time )?({command})`", README)
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    typed = f"export PATH={path}; " + typed.replace(".py", f".py {flags}")
    folder = ROOT if "tests/" in command else clone
    assert re.search(output, run("bash", "-c", typed, cwd=folder))
