"""What the script does when all goes well, checked against the post's procedure."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
import reference
import torch
import torchvision
from conftest import ARCHIVES, SCRIPT, Start, printed, python, remove_unpacked, run
from torchvision.transforms import ToTensor

import train_mnist

EPOCH_LINE = r"Model Accuracy: (\d+\.\d\d) %, Loss: (\d\.\d{4}), Time: \d+\.\d s"
STEP_LINE = r"Epoch \[(\d+)/(\d+)\], Step \[(\d+)/(\d+)\], Loss: (\d+\.\d{4})"


def load_into_posts_model(path):
    """Load a checkpoint as the post's reader does."""
    model = torch.nn.Sequential(torch.nn.Linear(784, 1024), torch.nn.Linear(1024, 10))
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


@pytest.fixture(scope="module")
def two_epochs(clone, tmp_path_factory):
    """A first run in a fresh clone, from another folder: (folder, lines printed)."""
    remove_unpacked(clone)
    folder = tmp_path_factory.mktemp("elsewhere")
    script = clone / "train_mnist.py"
    flags = ("--epochs", 2, "--log-interval", 1, "--device", "cpu")
    return folder, printed(python(script, *flags, cwd=folder)).splitlines()


@pytest.fixture(scope="module")
def posts_two_epochs(two_epochs, clone):
    """(losses, accuracy, weights) of the post's procedure after each of two epochs."""
    torch.manual_seed(1)
    return [
        (losses, accuracy, [p.detach().clone() for p in model.parameters()])
        for losses, accuracy, model in reference.train(clone / "datasets", 2)
    ]


def small_run(data_dir, folder, *flags):
    """Run on small data; return the printed lines."""
    flags = ("--data-dir", data_dir, "--device", "cpu", *flags)
    return printed(Start(*flags, cwd=folder).finish()).splitlines()


def without_time(lines):
    return [line.split(", Time")[0] for line in lines]


def test_prints_a_line_a_step_and_a_line_an_epoch(two_epochs):
    folder, lines = two_epochs
    assert "\n".join(lines).isascii()
    assert lines[0] == "Device: cpu"
    assert lines[-1] == "Checkpoint: mnist_dnn_model.pth"
    assert len(lines) == 1 + 2 * (938 + 1) + 1
    for epoch in (1, 2):
        block = lines[1 + (epoch - 1) * 939 : 1 + epoch * 939]
        for step, line in enumerate(block[:-1], start=1):
            assert re.fullmatch(STEP_LINE, line)
            assert line.startswith(f"Epoch [{epoch}/2], Step [{step}/938], Loss: ")
        assert re.fullmatch(EPOCH_LINE, block[-1])
    assert [path.name for path in folder.iterdir()] == ["mnist_dnn_model.pth"]


def test_one_epoch_reaches_its_accuracy(two_epochs):
    accuracy, loss = map(float, re.fullmatch(EPOCH_LINE, two_epochs[1][939]).groups())
    assert 81 < accuracy < 84
    assert 0.9 < loss < 1.02


def test_same_as_the_post_bit_for_bit(two_epochs, posts_two_epochs):
    folder, lines = two_epochs
    blocks = (lines[1:940], lines[940:1879])
    for block, (losses, accuracy, _) in zip(blocks, posts_two_epochs, strict=True):
        assert [line.split("Loss: ")[1] for line in block[:-1]] == [
            f"{loss:.4f}" for loss in losses
        ]
        assert block[-1].startswith(f"Model Accuracy: {accuracy:.2f} %, Loss: ")
    model = load_into_posts_model(folder / "mnist_dnn_model.pth")
    for ours, posts in zip(model.parameters(), posts_two_epochs[1][2], strict=True):
        assert torch.equal(ours, posts)


def test_batches_are_those_of_totensor(clone, two_epochs):
    data_dir = clone / "datasets"
    ours = train_mnist.read_mnist(str(data_dir), train=False)
    posts = torchvision.datasets.MNIST(data_dir, train=False, transform=ToTensor())
    loaders = (
        train_mnist.make_loader(ours, 64, shuffle=False),
        torch.utils.data.DataLoader(posts, batch_size=64),
    )
    batches = 0
    for (inputs, targets), (posts_inputs, posts_targets) in zip(*loaders, strict=True):
        assert inputs.dtype == torch.float32
        assert torch.equal(inputs, posts_inputs)
        assert torch.equal(targets, posts_targets)
        batches += 1
    assert batches == 157
    assert inputs.shape == (16, 1, 28, 28)
    assert torch.equal(ours[7][0], posts[7][0])
    assert ours[7][1] == posts[7][1]


def test_checkpoint_gives_the_printed_accuracy(two_epochs, clone):
    folder, lines = two_epochs
    model = load_into_posts_model(folder / "mnist_dnn_model.pth")
    mnist = torchvision.datasets.MNIST(clone / "datasets", train=False)
    logits = model(mnist.data.reshape(-1, 784) / 255)
    accuracy = (logits.argmax(1) == mnist.targets).double().mean().item() * 100
    loss = torch.nn.functional.cross_entropy(logits, mnist.targets).item()
    shown_accuracy, shown_loss = re.fullmatch(EPOCH_LINE, lines[-2]).groups()
    assert shown_accuracy == f"{accuracy:.2f}"
    assert float(shown_loss) == pytest.approx(loss, abs=1e-4)


def test_runs_with_the_network_off(clone, two_epochs, tmp_path):
    offline = shutil.which("unshare") and ["unshare", "-rn"]
    if not offline or subprocess.run([*offline, "true"], check=False).returncode:
        pytest.skip("this machine can't take the network away from a process")
    remove_unpacked(clone)
    script = str(clone / "train_mnist.py")
    command = [*offline, sys.executable, script, "--epochs", "1", "--batch-size", "999"]
    assert "Model Accuracy" in printed(run(*command, cwd=tmp_path))


def test_a_seed_decides_the_run(small_data, home):
    flags = ("--epochs", 2, "--log-interval", 1)
    first = small_run(small_data, home, *flags, "--seed", 5)
    again = small_run(small_data, home, *flags, "--seed", 5)
    other = small_run(small_data, home, *flags, "--seed", 6)
    assert without_time(first) == without_time(again)
    assert without_time(first) != without_time(other)
    for line, other_line in zip(first[1:11], other[1:11], strict=True):
        assert line != other_line


def test_default_seed_is_one(small_data, home):
    assert without_time(small_run(small_data, home, "--log-interval", 1)) == (
        without_time(small_run(small_data, home, "--log-interval", 1, "--seed", 1))
    )


def test_epochs_and_log_interval(small_data, home):
    lines = small_run(small_data, home, "--epochs", 3, "--log-interval", 4)
    steps = [re.fullmatch(STEP_LINE, line) for line in lines]
    assert [match.groups()[:4] for match in steps if match] == [
        (epoch, "3", step, "10") for epoch in "123" for step in "48"
    ]
    assert sum(line.startswith("Model Accuracy") for line in lines) == 3


def test_default_is_ten_epochs_and_a_line_every_hundred_steps(small_data, home):
    lines = small_run(small_data, home)
    assert sum(line.startswith("Model Accuracy") for line in lines) == 10
    assert not any(line.startswith("Epoch") for line in lines)
    lines = small_run(small_data, home, "--batch-size", 3, "--epochs", 1)
    assert [line.split(", Loss")[0] for line in lines if "Step" in line] == [
        "Epoch [1/1], Step [100/214]",
        "Epoch [1/1], Step [200/214]",
    ]


@pytest.mark.parametrize(("batch_size", "steps"), [(100, 7), (640, 1), (10**12, 1)])
def test_batch_size(small_data, home, batch_size, steps):
    flags = ("--epochs", 1, "--log-interval", 1, "--batch-size", batch_size)
    lines = small_run(small_data, home, *flags)
    assert sum("Step [" in line for line in lines) == steps
    assert f"Step [{steps}/{steps}]" in lines[steps]


def test_lr_is_the_size_of_a_step(small_data, home):
    def weights(lr):
        flags = ("--epochs", 1, "--batch-size", 640, "--lr", lr)
        small_run(small_data, home, *flags)
        return torch.load(home / "mnist_dnn_model.pth", weights_only=True)["1.weight"]

    start = weights(1e-30)  # too small a step to change a float32
    step, tenfold = weights(0.01) - start, weights(0.1) - start
    assert step.abs().max() > 1e-5
    torch.testing.assert_close(tenfold, 10 * step, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("given", ["relative", "absolute", "link", "dangling link"])
def test_checkpoint_goes_where_it_should(small_data, home, given):
    target = home / "모델 one" / "a model.pth"
    target.parent.mkdir()
    flag = target if given == "absolute" else target.relative_to(home)
    if "link" in given:
        flag = home / "latest.pth"
        flag.symlink_to(target)
        if given == "link":
            target.write_bytes(b"an old checkpoint")
    lines = small_run(small_data, home, "--epochs", 1, "--checkpoint", flag)
    assert lines[-1] == f"Checkpoint: {flag}"
    load_into_posts_model(target)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    if "link" in given:
        assert flag.is_symlink()


def test_a_tilde_is_the_shells(small_data, home):
    flags = f'--data-dir "{small_data}" --epochs 1 --device cpu'
    command = f'"{sys.executable}" "{SCRIPT}" {flags} --checkpoint ~/tilde.pth'
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    if sys.platform == "win32":
        pytest.skip("no such shell")
    subprocess.run(["sh", "-c", command], env=environment, check=True)
    load_into_posts_model(home / "tilde.pth")


def test_relative_data_dir(small_data, home):
    lines = small_run("../data", home, "--epochs", 1)
    assert lines[-1].startswith("Checkpoint")


def test_checkpoint_is_saved_after_every_epoch(small_data, home):
    flags = ("--data-dir", small_data, "--epochs", 10**6, "--device", "cpu")
    running = Start(*flags, cwd=home)
    seen = set()
    while len(seen) < 3:
        running.wait_for("Model Accuracy: ", times=len(seen) + 2)
        model = load_into_posts_model(home / "mnist_dnn_model.pth")
        seen.add(model[1].bias[0].item())
    running.process.kill()
    running.finish()


def test_every_line_is_shown_at_once(clone, small_data, home):
    """A buffer would hold a line back until the next flush, or for a hundred lines."""
    flags = ("--log-interval", 1, "--device", "cpu")
    running = Start(*flags, "--data-dir", clone / "datasets", cwd=home)
    assert "Step" not in running.wait_for("Device: ").read(".out")
    assert running.wait_for("Step [1/").read(".out").count("\n") < 20
    running.process.kill()
    running.finish()
    flags = ("--log-interval", 10**6, "--device", "cpu", "--epochs", 10**6)
    running = Start(*flags, "--data-dir", small_data, cwd=home)
    assert running.wait_for("Model Accuracy: ").read(".out").count("\n") < 20
    running.process.kill()
    running.finish()


def test_checkpoint_of_another_device_loads_here(tmp_path):
    class Elsewhere(torch.nn.Module):
        def state_dict(self):
            return {"weight": FromDevice(torch.ones(2))}

    class FromDevice:
        def __init__(self, tensor):
            self.tensor = tensor

        def cpu(self):
            return self.tensor

    train_mnist.save_checkpoint(Elsewhere(), str(tmp_path / "x.pth"))
    loaded = torch.load(tmp_path / "x.pth", weights_only=True)
    assert torch.equal(loaded["weight"], torch.ones(2))


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_evaluation_is_exact_and_changes_nothing(batch_size):
    """Ten samples whose first pixels are the logits; seven are classified right."""
    logits = torch.eye(10) * 3
    logits[7:] = logits[7:].flip(1)
    inputs = torch.zeros(10, 1, 28, 28)
    inputs.view(10, 784)[:, :10] = logits
    targets = torch.arange(10)
    model = torch.nn.Sequential(torch.nn.Linear(784, 10), torch.nn.Dropout(0.9))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(10, 784))
        model[0].bias.zero_()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    before = [parameter.clone() for parameter in model.parameters()]

    samples = torch.utils.data.TensorDataset(inputs, targets)
    loader = torch.utils.data.DataLoader(samples, batch_size=batch_size)
    criterion = torch.nn.CrossEntropyLoss()
    accuracy, loss = train_mnist.evaluate(model, criterion, loader, "cpu")

    assert accuracy == 70
    assert loss == pytest.approx(criterion(logits, targets).item(), rel=1e-6)
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert torch.equal(parameter.grad, torch.full_like(parameter, 7))
        assert parameter.requires_grad


def test_evaluation_runs_without_autograd():
    class Spy(torch.nn.Linear):
        def forward(self, inputs):
            assert torch.is_inference_mode_enabled()
            assert not self.training
            return super().forward(inputs)

    batch = (torch.zeros(4, 1, 28, 28), torch.zeros(4, dtype=torch.int64))
    train_mnist.evaluate(Spy(784, 10), torch.nn.CrossEntropyLoss(), [batch], "cpu")


def test_archives_are_the_ones_torchvision_expects():
    resources = torchvision.datasets.MNIST.resources
    assert {name for name, _ in resources} == {p.name for p in ARCHIVES.glob("*.gz")}
    readme = (ARCHIVES.parents[1] / "README.md").read_text("utf-8")
    for name, md5 in resources:
        assert torchvision.datasets.utils.check_integrity(ARCHIVES / name, md5)
        size = f"{(ARCHIVES / name).stat().st_size:,}"
        assert re.search(rf"`{name}` \| .* \| {size} \| `{md5}`", readme)


def test_copied_alone_it_runs(small_data, home):
    shutil.copy(SCRIPT, home)
    flags = ("--data-dir", small_data, "--epochs", 1, "--device", "cpu")
    printed(Start(*flags, script=home / "train_mnist.py", cwd=home).finish())
    assert {path.name for path in home.iterdir()} == {
        "train_mnist.py",
        "mnist_dnn_model.pth",
    }


def test_importing_has_no_side_effect(home):
    shutil.copy(SCRIPT, home)
    code = "import torch; s = torch.random.initial_seed(); import train_mnist; "
    code += "assert torch.random.initial_seed() == s"
    assert printed(python("-B", "-c", code, cwd=home)) == ""
    assert [path.name for path in home.iterdir()] == ["train_mnist.py"]


def test_main_has_the_posts_six_headings_in_order():
    tree = ast.parse(SCRIPT.read_text("utf-8"))
    (main,) = (n for n in tree.body if getattr(n, "name", None) == "main")
    lines = SCRIPT.read_text("utf-8").splitlines()[main.lineno : main.end_lineno]
    headings = [line.strip() for line in lines if re.match(r" +# (\d\.|Check)", line)]
    assert headings == [
        "# 1. DataSet",
        "# 2. Model",
        "# 3. Criterion",
        "# 4. Optimizer",
        "# 5. Train Iterator",
        "# 6. Evaluation Logic",
        "# Checkpoint",
    ]


def test_script_is_short_and_needs_two_packages():
    text = SCRIPT.read_text("utf-8")
    assert len(text.splitlines()) <= 190
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - sys.stdlib_module_names == {"torch", "torchvision"}


def test_devices_are_the_accelerators_and_the_cpu(monkeypatch):
    """Two GPUs, which this machine hardly has, are put in PyTorch's mouth."""
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: gpu)
    monkeypatch.setattr(sys, "argv", ["train_mnist.py"])
    assert train_mnist.parse_args().device == "cuda"
    for device in ("cuda", "cuda:0", "cuda:1", "cpu"):
        monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--device", device])
        assert train_mnist.parse_args().device == device
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", "--device", "cuda:2"])
    with pytest.raises(SystemExit) as stop:
        train_mnist.parse_args()
    assert stop.value.code == 2


def test_help_shows_every_default(flags_of_help):
    assert {flag: default for flag, (default, _) in flags_of_help.items()} == {
        "--epochs": "10",
        "--batch-size": "64",
        "--lr": "0.003",
        "--seed": "1",
        "--log-interval": "100",
        "--device": str(torch.accelerator.current_accelerator())
        if torch.accelerator.is_available()
        else "cpu",
        "--data-dir": str(SCRIPT.parent / "datasets"),
        "--checkpoint": "mnist_dnn_model.pth",
    }
