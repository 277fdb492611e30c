"""The README, tried as its reader tries it: every block, table and claim in code."""

import math
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys

import experiments
import pytest
import torch
import torchvision
from conftest import ROOT, SCRIPT, Start, printed, python, remove_unpacked, run
from PIL import Image, ImageOps
from readme import README, rows, section
from torch import nn
from torchvision.transforms import ToTensor

import train_mnist

BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block(mark):
    (found,) = (text for text in BLOCKS if mark in text)
    return found


def run_block(mark, folder):
    """Run the block that contains mark with folder as current folder."""
    return printed(python("-c", block(mark), cwd=folder))


@pytest.fixture(scope="module")
def trained(clone):
    """The clone after a run of one epoch, with a larger step than the post's."""
    (clone / ".github").mkdir()
    printed(python("train_mnist.py", "--epochs", 1, "--lr", 0.1, cwd=clone))
    return clone


@pytest.fixture(scope="module")
def plain_epoch(trained, tmp_path_factory):
    """What the plain script prints in one epoch."""
    folder = tmp_path_factory.mktemp("plain")
    flags = ("--epochs", 1, "--device", "cpu", "--data-dir", trained / "datasets")
    return printed(python(SCRIPT, *flags, cwd=folder))


def test_every_python_block_is_known():
    marks = ("save_image(1 - image", "PIL", "mistakes", "TensorDataset", "Distributed")
    assert [block(mark) for mark in marks] == BLOCKS


def test_flags_are_those_of_help(flags_of_help):
    table = {flag.strip("`"): (default, help_) for flag, default, help_ in rows(README)}
    assert list(table) == list(flags_of_help)
    for flag, (default, help_) in table.items():
        assert help_ == flags_of_help[flag][1]
        if flag not in ("--device", "--data-dir"):  # they depend on the machine
            assert default == flags_of_help[flag][0]


def test_steps_have_the_shapes_and_types_of_the_table(clone):
    steps = rows(section("The six steps"))
    assert [row[0] for row in steps] == [
        "1 DataSet",
        "2 Model",
        "3 Criterion",
        "4 Optimizer",
        "5 Train Iterator",
        "6 Evaluation Logic",
        "checkpoint",
    ]
    for name in re.findall(r"`(\w+)`", " ".join(row[1] for row in steps)):
        assert name in ("criterion", "optimizer", "for") or hasattr(train_mnist, name)
    splits = [
        train_mnist.read_mnist(clone / "datasets", train=t) for t in (True, False)
    ]
    loaders = [train_mnist.make_loader(split, 64, shuffle=False) for split in splits]
    assert [len(loader) for loader in loaders] == [938, 157]
    for loader, last in zip(loaders, (32, 16), strict=True):
        sizes = [len(targets) for _, targets in loader]
        assert sizes == [64] * (len(loader) - 1) + [last]
    inputs, targets = next(iter(loaders[0]))
    assert (inputs.shape, inputs.dtype) == ((64, 1, 28, 28), torch.float32)
    assert (inputs.min(), inputs.max()) == (0, 1)
    assert (targets.shape, targets.dtype) == ((64,), torch.int64)
    model = train_mnist.make_model()
    logits = model(inputs.reshape(-1, 784))
    assert (logits.shape, logits.dtype) == ((64, 10), torch.float32)
    assert nn.CrossEntropyLoss()(logits, targets).shape == ()
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes == [(1024, 784), (1024,), (10, 1024), (10,)]


def test_differences_that_code_can_show(clone, small_data, home):
    sample, _ = torchvision.datasets.MNIST(
        clone / "datasets", transform=ToTensor(), download=True
    )[0]
    assert sample.shape == (1, 28, 28)

    model = train_mnist.make_model().eval()
    inputs = torch.rand(64, 784)
    assert model(inputs).requires_grad  # eval() leaves autograd on
    with torch.inference_mode():
        assert not model(inputs).requires_grad
    assert not any(isinstance(m, (nn.Dropout, nn.BatchNorm1d)) for m in model.modules())

    weight = model[1].weight @ model[0].weight
    bias = model[1].weight @ model[0].bias + model[1].bias
    torch.testing.assert_close(model(inputs), inputs @ weight.T + bias)

    assert torch.tensor(9039) / 10000 == torch.tensor(0.9039)  # true division today
    steps = 10 * math.ceil(60000 / 64)
    assert f"A line for each step, {steps:,} in all" in README

    flags = ("--data-dir", small_data, "--log-interval", 1, "--device", "cpu")
    lines = Start(*flags, cwd=home).finish().stdout.splitlines()
    assert sum("Step [" in line for line in lines) == 10 * 10
    assert sum(", Loss: " in line for line in lines if "Accuracy" in line) == 10


def test_a_sample_is_classified_and_written_as_a_picture(trained):
    assert run_block("save_image(1 - image", trained) == "This 7 is taken for a 7\n"
    with Image.open(trained / "digit.png") as picture:
        assert picture.size == (28, 28)
        assert picture.convert("L").getpixel((0, 0)) == 255


def test_own_picture_as_it_stands(trained):
    run_block("save_image(1 - image", trained)
    assert re.fullmatch(r"It is taken for a 7, with \d+%\n", run_block("PIL", trained))


@pytest.mark.parametrize(
    "kind", ["RGB", "L", "1", "P", "RGBA", "dark", "jpeg", "small"]
)
def test_own_pictures_of_every_kind(trained, tmp_path, kind):
    """Digits drawn large, off the middle and in colour are read as before."""
    (tmp_path / "block.py").write_text(block("PIL").split("\nmodel = ")[0], "utf-8")
    like_mnist = runpy.run_path(tmp_path / "block.py")["like_mnist"]
    test = train_mnist.read_mnist(trained / "datasets", train=False)
    model = train_mnist.make_model()
    model.load_state_dict(
        torch.load(trained / "mnist_dnn_model.pth", weights_only=True)
    )
    right = plain_right = 0
    for image, target in zip(test.data[:100], test.targets[:100], strict=True):
        ink = Image.fromarray(image.numpy()).resize(
            (280, 280), Image.Resampling.BICUBIC
        )
        page = Image.new("L", (500, 400))
        page.paste(ink, (180, 20))
        path = tmp_path / ("picture.jpg" if kind == "jpeg" else "picture.png")
        if kind == "RGBA":
            picture = Image.new("RGBA", page.size, (20, 20, 120, 0))
            picture.putalpha(page)
        elif kind == "dark":
            picture = ImageOps.colorize(page, (10, 40, 10), (250, 240, 90))
        else:
            picture = ImageOps.colorize(page, (240, 235, 220), (30, 20, 110))
            if kind == "small":
                picture = picture.resize((50, 40))
            if kind in ("L", "1", "P"):
                picture = picture.convert(kind, dither=Image.Dither.NONE)
        picture.save(path)
        made = like_mnist(path)
        assert made.shape == (1, 28, 28)
        assert made.min() >= 0
        assert made.max() < 1.001
        right += int(model(made.reshape(1, 784)).argmax() == target)
        plain_right += int(model(image.reshape(1, 784) / 255).argmax() == target)
    assert right >= plain_right - 8


def test_pictures_are_made_anew(trained):
    run_block("mistakes", trained)
    for name in ("templates", "mistakes"):
        assert f"](.github/{name}.png)" in README
        shown_path = ROOT / ".github" / f"{name}.png"
        assert shown_path.stat().st_size < 100_000
        made_path = trained / ".github" / f"{name}.png"
        with Image.open(made_path) as made, Image.open(shown_path) as shown:
            assert made.size == shown.size


@pytest.mark.parametrize("experiment", experiments.read_table(), ids=lambda row: row[0])
def test_experiments_run(experiment, small_data, home):
    change, lines, flags, accuracy = experiment
    script = home / "train_mnist.py"
    experiments.write_changed(lines, script)
    if accuracy == "not measured":
        assert "FashionMNIST" in change  # which downloads, so it is left out here
        return
    flags = (*flags, "--data-dir", small_data, "--epochs", 1, "--device", "cpu")
    printed(Start(*flags, script=script, cwd=home).finish())
    assert re.fullmatch(r"\d\d\.\d\d %", accuracy)


def test_experiments_are_measured_by_the_command():
    assert "`python tests/experiments.py`" in README
    (row,) = (i for i, e in enumerate(experiments.read_table()) if "256" in e[0])
    command = ("tests/experiments.py", "--epochs", 1, "--rows", row)
    output = printed(python(*command, cwd=ROOT))
    assert re.fullmatch(r"\d\d\.\d\d % `--batch-size 256`\n", output)


@pytest.mark.skipif(os.name != "posix", reason="needs the module resource")
def test_benchmark_prints_the_table():
    assert "`python tests/benchmark.py`" in README
    command = ("tests/benchmark.py", "--rounds", 1, "--epochs", 2)
    output = printed(python(*command, cwd=ROOT))
    shown = rows(section("How fast, and why"))
    assert [row[0] for row in rows(output)] == [row[0] for row in shown]
    assert [len(row) for row in rows(output)] == [len(row) for row in shown]
    assert "times as fast as the post's listing" in output
    assert re.search(r"The median step: fetch \d", output)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_five_seeds(small_data, home):
    (command,) = re.findall(r"^for seed in .*", README, re.MULTILINE)
    script = f'"{sys.executable}" "{ROOT}/train_mnist.py" --data-dir "{small_data}"'
    assert "python train_mnist.py" in command
    command = command.replace("python train_mnist.py", script)
    output = printed(run("sh", "-c", command, cwd=home))
    assert len(re.findall(r"Model Accuracy: \d\d\.\d\d %", output)) == 5


def test_own_data_set(clone):
    output = run_block("TensorDataset", clone)
    accuracy = re.fullmatch(r"Model Accuracy: (.*) %\n", output)[1]
    assert float(accuracy) > 90


def launch(folder, *commands):
    """Run torchrun commands of the README at once, with one epoch; return the output."""
    (folder / "train_ddp.py").write_text(block("Distributed"), "utf-8")
    (folder / "one_epoch.py").write_text(
        "import os, torch, train_ddp\n"
        "model = train_ddp.main(epochs=1)\n"
        "torch.save(model.state_dict(), f'rank{os.environ[\"RANK\"]}.pth')\n"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *command.split()[1:]],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    outputs = [process.communicate(timeout=100)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), outputs
    return "".join(outputs)


@pytest.mark.skipif(sys.platform != "linux", reason="gloo is for Linux")
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_as_one(trained, plain_epoch, tmp_path, machines):
    """Two launchers on one machine stand for the two machines."""
    shutil.copytree(trained, tmp_path / "ddp")
    folder = tmp_path / "ddp"
    remove_unpacked(folder)
    text = section("More than one GPU or machine").replace(
        "train_ddp.py", "one_epoch.py"
    )
    commands = re.findall(r"^torchrun.*", text, re.MULTILINE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = commands[machines - 1].replace("HOST:29500", endpoint)
    output = launch(folder, *[command] * machines)

    accuracies = re.findall(r"Model Accuracy: (.*?) %", output)
    assert len(accuracies) == 1
    plain_accuracy = re.search(r"Model Accuracy: (.*?) %", plain_epoch)[1]
    assert abs(float(accuracies[0]) - float(plain_accuracy)) < 0.5
    ranks = [torch.load(folder / f"rank{r}.pth", weights_only=True) for r in (0, 1)]
    for name, value in train_mnist.make_model().state_dict().items():
        assert ranks[0][name].shape == value.shape
        assert torch.equal(ranks[0][name], ranks[1][name])


def test_commands_are_the_two_of_the_project():
    commands = re.findall(r"^python3 .*", README, re.MULTILINE)
    start = "python3 -m venv .venv && . .venv/bin/activate && pip install -r"
    assert commands == [
        f"{start} requirements.txt && python train_mnist.py",
        f"{start} requirements.txt pytest && python -m pytest",
    ]


def test_shown_output_is_that_of_a_run(plain_epoch):
    """The first epoch's lines of the README, but for the time, are what a run prints."""
    (shown,) = re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = re.sub(r"Time: .*", "", plain_epoch).replace("[1/1]", "[1/10]").splitlines()
    for line in shown.split("\nModel Accuracy: 90")[0].splitlines():
        assert line == "..." or re.sub(r"Time: .*", "", line) in lines


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]*)\)", README):
        if target.startswith("#"):
            titles = re.findall(r"^##+ (.*)", README, re.MULTILINE)
            anchors = [
                re.sub(r"[^\w\s-]", "", t).lower().replace(" ", "-") for t in titles
            ]
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / target).exists()


def test_datasets_are_as_large_as_it_says():
    archives = (ROOT / "datasets" / "MNIST" / "raw").glob("*.gz")
    size = sum(archive.stat().st_size for archive in archives)
    assert f"{size / 1e6:.1f} MB" in section("Data and licence")
