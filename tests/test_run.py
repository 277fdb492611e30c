"""The script's main job: the post's results from a fresh clone, and its flags."""

import hashlib
import os
import re
import runpy
import sys
from inspect import getsource
from types import SimpleNamespace

import pytest
import torch
import train_photos
import train_table
from documents import table
from helpers import (
    CHECKPOINT,
    CONFINED,
    RAW,
    ROOT,
    SCRIPT,
    SCRIPTS,
    module,
    without_times,
)
from torch import nn
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

import train_mnist


def test_read_only_clone_trains_without_network(first_run):
    """Without a network wherever the header of pytest's output says so, as CI must."""
    assert CONFINED or sys.platform != "linux" or "CI" not in os.environ
    folder, lines, _ = first_run
    assert os.listdir(folder) == [CHECKPOINT]
    assert (lines[0], lines[-1]) == ("Device: cpu", f"Checkpoint: {CHECKPOINT}")


def test_same_bits_as_the_post(first_run):
    folder, lines, (model, losses, accuracies) = first_run
    assert [line.split("Loss: ")[1] for line in lines if "Step" in line] == [
        f"{loss:.4f}" for loss in losses
    ]
    results = [line for line in lines if "Accuracy" in line]
    for line, accuracy in zip(results, accuracies):
        shape = rf"Model Accuracy: {accuracy:.2f} %, Eval Loss: \d\.\d{{4}}, Time: .* s"
        assert re.fullmatch(shape, line)
    assert len(lines) == 1 + len(losses) + len(accuracies) + 1
    saved = torch.load(folder / CHECKPOINT)
    assert list(saved) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    assert all(map(torch.equal, saved.values(), model.state_dict().values()))


def test_flat_inputs_fit_as_well():
    model, inputs = train_mnist.make_model(), torch.rand(2, 1, 28, 28)
    assert torch.equal(model(inputs), model(inputs.reshape(2, 784)))


def test_data_have_the_checksums_of_their_readme():
    text = (ROOT / "datasets" / "README.md").read_text("utf-8")
    sums = dict(re.findall(r"`(.*-ubyte)` \| .* `([0-9a-f]{64})`", text))
    assert sorted(sums) == sorted(path.name for path in RAW.glob("*-ubyte"))
    for name, sha256 in sums.items():
        content = (RAW / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        assert f" {len(content):,} | `{sha256}`" in text


def test_seed_decides_the_run(train):
    flags = ("--epochs", 2, "--log-interval", 1)
    lines = without_times(train(*flags, "--seed", 0))
    assert lines == without_times(train(*flags, "--seed", 0))
    other = without_times(train(*flags, "--seed", 2))
    assert all(a != b for a, b in zip(lines[1:11], other[1:11]))


def test_samples_are_those_of_torchvision(small_data):
    samples = train_mnist.read_mnist(small_data, train=True)
    expected = MNIST(small_data, train=True, transform=ToTensor())
    for (image, target), (other, same_target) in zip(samples, expected):
        assert torch.equal(image, other) and target == same_target
    assert type(target) is int and len(samples) == len(expected) == 640


@pytest.mark.parametrize("parameter", ["transform", "target_transform"])
def test_transform_acts_each_time_that_a_sample_is_read(small_data, parameter):
    """One that is typed into the call of MNIST; here, it counts its calls."""
    place = "MNIST(data_dir, train, download=True)"
    text = SCRIPTS["train_mnist.py"]
    assert text.count(place) == 1
    script = module(text.replace(place, place[:-1] + f", {parameter}=count)"))
    calls = []
    script.count = lambda value: calls.append(value) or len(calls)
    samples = script.read_mnist(small_data, train=True)
    assert 1 in samples[0] and 2 in samples[0]


@pytest.mark.parametrize(
    ("flags", "epochs", "steps", "total"),
    [
        ("--epochs 2 --batch-size 3", 2, [100, 200, 214], 214),
        ("--epochs 1", 1, [10], 10),
        ("--log-interval 5", 10, [5, 10], 10),
    ],
)
def test_steps_and_epochs(train, flags, epochs, steps, total):
    lines = train(*flags.split())
    assert [line.split(", Loss")[0] for line in lines if "Step" in line] == [
        f"Epoch [{epoch}/{epochs}], Step [{step}/{total}]"
        for epoch in range(1, epochs + 1)
        for step in steps
    ]
    assert sum("Model Accuracy" in line for line in lines) == epochs


def test_time_is_that_of_an_epoch_with_its_evaluation(train, monkeypatch):
    """A clock stands still but for 0.1 s in each step and 2 s in evaluate()."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def step(optimizer):
        clock.now += 0.1

    def evaluate(*_):
        clock.now += 2
        return 50.0, 1.0

    monkeypatch.setattr(train_mnist, "time", clock)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    monkeypatch.setattr(train_mnist, "evaluate", evaluate)
    results = [line for line in train("--epochs", 2) if "Time" in line]
    assert [line.split("Time: ")[1] for line in results] == ["3.0 s", "3.0 s"]


def test_what_the_model_is_given(train, monkeypatch):
    """Each split whole, shuffled for training only; modes and autograd as they must be.

    --batch-size is for both.
    """
    modes, batches = [], []

    class Spy(nn.Linear):
        def forward(self, inputs):
            modes.append((self.training, torch.is_grad_enabled(), len(inputs)))
            batches.append(inputs.sum(dim=(1, 2, 3)))
            return super().forward(inputs.flatten(1))

    monkeypatch.setattr(train_mnist, "make_model", lambda: Spy(784, 10).eval())
    train("--epochs", 2, "--batch-size", 50)
    training = [(True, True, 50)] * 12 + [(True, True, 40)]
    assert modes == (training + [(False, False, 50)] * 2) * 2
    first, test, second, test_again = map(
        torch.cat, (batches[:13], batches[13:15], batches[15:28], batches[28:])
    )
    assert torch.equal(first.sort().values, second.sort().values)
    assert not torch.equal(first, second)
    assert torch.equal(test, test_again)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_evaluation_is_exact(batch_size):
    """The first pixels of ten samples are the scores; seven samples are right."""
    scores = torch.eye(10) * 3
    scores[7:] = scores[7:].flip(1)
    images = nn.functional.pad(scores, (0, 774)).reshape(10, 1, 28, 28)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Dropout(0.9))
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(10, 784))
        model[1].bias.zero_()
    loader = torch.utils.data.DataLoader(list(zip(images, range(10))), batch_size)
    criterion = nn.CrossEntropyLoss()
    accuracy, loss = train_mnist.evaluate(model, criterion, loader, "cpu")
    assert accuracy == 70
    assert loss == pytest.approx(criterion(scores, torch.arange(10)).item(), rel=1e-6)
    assert (type(accuracy), type(loss), model.training) == (float, float, False)


def test_every_epoch_is_saved_better_or_worse(train, monkeypatch):
    accuracies, biases = iter((30.0, 20.0, 10.0)), []

    def evaluate(model, *_):
        if biases:  # the epoch before has been saved by now
            assert torch.equal(torch.load(CHECKPOINT)["2.bias"], biases[-1])
        biases.append(model[2].bias.detach().clone())
        return next(accuracies), 1.0

    monkeypatch.setattr(train_mnist, "evaluate", evaluate)
    train("--epochs", 3)
    assert torch.equal(torch.load(CHECKPOINT)["2.bias"], biases[2])


def test_all_of_the_model_is_saved(train, monkeypatch):
    """What is no parameter, too, such as the mean and variance of BatchNorm."""

    def make_model():
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))

    monkeypatch.setattr(train_mnist, "make_model", make_model)
    train("--epochs", 1)
    make_model().load_state_dict(torch.load(CHECKPOINT))


def test_checkpoint_goes_where_the_flag_says(train, home):
    path = home / "모델 one" / "model.pth"
    path.parent.mkdir()
    assert train("--epochs", 1, "--checkpoint", path)[-1] == f"Checkpoint: {path}"
    assert torch.load(path)["2.bias"].shape == (10,)


@pytest.mark.parametrize(("flags", "device"), [("", "cuda"), ("--device cpu", "cpu")])
def test_default_device_is_the_accelerator(monkeypatch, flags, device):
    """Pretend that PyTorch reports a GPU."""
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: gpu)
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", *flags.split()])
    assert train_mnist.parse_args().device == device


def test_everything_goes_to_the_device(train, monkeypatch):
    """A tensor that stays on the CPU is an error beside one on the device "meta".

    That device computes shapes only, so it is given a number to print.
    """
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1.0)
    assert train("--device", "meta", "--epochs", 1)[0] == "Device: meta"


def test_import_has_no_side_effect(home, capsys):
    state = torch.get_rng_state()
    runpy.run_path(str(SCRIPT), run_name="train_mnist")
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr() == ("", "")
    assert os.listdir(home) == []


def test_numbers_at_parse_args_are_the_defaults(monkeypatch, own_data):
    """Also in the scripts for own data, each of which has its own."""
    for script in (train_mnist, train_photos, train_table):
        monkeypatch.setattr(sys, "argv", ["train.py"])
        args = script.parse_args()
        (comment,) = re.findall(r"args = parse_args\(\)  #(.*)", getsource(script.main))
        numbers = [float(number) for number in re.findall(r"\d+\.?\d*", comment)]
        assert numbers == [args.epochs, args.batch_size, args.lr]


def test_help_shows_the_defaults(train, capsys):
    with pytest.raises(SystemExit, match="0"):
        train("--help")
    assert "(default: 0.003)" in capsys.readouterr().out


def test_main_is_the_posts_list_of_steps():
    before, main = SCRIPTS["train_mnist.py"].split("\ndef ")[:2]
    assert main.startswith("main()")
    steps = table(
        "| post | in [the script](train_mnist.py) | what goes in | what comes out |"
    )
    headings = re.findall(r"^ +# (\d)\. (.*)$", main, re.MULTILINE)
    assert [" ".join(heading) for heading in headings] == [step for step, *_ in steps]
    imported = set(re.findall(r"^(?:import|from) (\w+)", before, re.MULTILINE))
    assert imported - {"argparse", "math", "os", "time", "pathlib"} == {
        "torch",
        "torchvision",
    }
