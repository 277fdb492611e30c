"""Train a two-layer network on MNIST. Read main() first: its parts stand above it."""

import argparse
import io
import math
import os
import sys
import time

try:
    import torch
    import torchvision
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.transforms import ToTensor
except KeyboardInterrupt:  # importing PyTorch takes seconds, enough for a Ctrl-C
    print("Stopped: no checkpoint was saved", file=sys.stderr)
    sys.exit(130)


class MNIST(torchvision.datasets.MNIST):
    """torchvision's MNIST, but a batch is looked up at once, not image by image."""

    def __getitems__(self, indices):
        """Return n samples as by ToTensor: float32 (n, 1, 28, 28) and int64 (n,)."""
        indices = torch.tensor(indices)
        inputs = self.data.index_select(0, indices).unsqueeze(1) / 255
        return inputs, self.targets[indices]


def read_mnist(data_dir, train):
    """Return a split, unpacked or downloaded first; exit with one line on a fault."""
    split = os.path.join(data_dir, "MNIST", "raw", "train" if train else "t10k")
    images, labels = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
    try:
        mnist = MNIST(data_dir, train=train, transform=ToTensor(), download=True)
        if mnist.data.shape != (len(mnist.targets), 28, 28) or mnist.targets.max() > 9:
            raise ValueError("images and labels do not fit together")
        return mnist
    except MemoryError:
        raise  # main() tells of it
    except Exception as error:
        way_out = f"the four archives (*.gz) belong in {os.path.dirname(split)}"
        if os.path.exists(images) and os.path.exists(labels):
            way_out = f"delete {images} and {labels}, the next run unpacks them anew"
        cause = " ".join(f"{type(error).__name__}: {error}".split())  # on one line
        raise SystemExit(f"error: cannot read MNIST: {cause}; {way_out}") from error


def make_loader(dataset, batch_size, shuffle):
    """Return a DataLoader of batches (inputs, targets); the last may be smaller."""
    # MNIST's __getitems__ makes whole batches: nothing is left to collate.
    return DataLoader(dataset, batch_size, shuffle=shuffle, collate_fn=tuple)


def make_model():
    """Return the model, from inputs (batch, 784) to logits (batch, 10)."""
    return nn.Sequential(nn.Linear(28 * 28, 1024), nn.Linear(1024, 10))


@torch.inference_mode()  # turns autograd off, which model.eval() does not
def evaluate(model, criterion, eval_loader, device):
    """Return the accuracy in percent and the mean loss over all samples."""
    model.eval()  # for layers such as Dropout and BatchNorm
    correct_cnt = total_cnt = total_loss = 0
    for inputs, targets in eval_loader:
        inputs, targets = inputs.to(device), targets.to(device)
        outputs = model(inputs.reshape(-1, 28 * 28))
        correct_cnt += (outputs.argmax(dim=1) == targets).sum()
        total_cnt += len(targets)
        total_loss += criterion(outputs, targets) * len(targets)
    return 100 * correct_cnt.item() / total_cnt, total_loss.item() / total_cnt


def save_checkpoint(model, path):
    """Save the model's state_dict; at any moment, the file is a whole checkpoint.

    A link stays, its target is replaced. Exit with one line if that can't be written.
    """
    path = os.path.realpath(path)
    part = f"{path}.{os.urandom(4).hex()}.pth"  # no two runs at once share a name
    buffer = io.BytesIO()  # writing to a full disk, torch.save would hide the cause
    try:
        # Tensors of a GPU load only where there is one, those of the CPU anywhere.
        torch.save({name: t.cpu() for name, t in model.state_dict().items()}, buffer)
        with open(part, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file)  # on the disk, before it takes the old file's place
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        sys.exit(f"error: cannot save {path}: {error}; what was there is kept")
    finally:
        if os.path.exists(part):  # a fault or a Ctrl-C came in between
            os.remove(part)


def parse_args():
    """Read the flags; on a bad one exit with status 2 and one line: no usage text."""
    count = torch.accelerator.device_count()
    names = [str(torch.accelerator.current_accelerator())] if count else []
    devices = names + [f"{name}:{i}" for name in names for i in range(count)] + ["cpu"]
    base_dir = os.path.dirname(os.path.abspath(__file__))
    style = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, formatter_class=style)
    add = parser.add_argument
    add("--epochs", type=int, default=10, help="passes over the training split")
    add("--batch-size", type=int, default=64, help="samples in a step")
    add("--lr", type=float, default=0.003, help="learning rate")
    add("--seed", type=int, default=1, help="of the weights and the shuffling")
    add("--log-interval", type=int, default=100, help="steps between printed lines")
    add("--device", choices=devices, default=devices[0], help="where to train")
    add("--data-dir", default=f"{base_dir}/datasets", help="folder of MNIST/raw")
    add("--checkpoint", default="mnist_dnn_model.pth", help="file to save to")
    args = parser.parse_args()
    for flag in ("--epochs", "--batch-size", "--lr", "--log-interval", "--seed"):
        value = vars(args)[flag[2:].replace("-", "_")]
        low = -1 if flag == "--seed" else 0
        if not low < value < 2**63:  # true of nan as well
            parser.error(f"argument {flag}: {value} is not above {low} and below 2**63")
    target = os.path.realpath(args.checkpoint)
    is_file = os.path.isfile(target)
    is_locked = os.path.exists(target) and not (is_file and os.access(target, os.W_OK))
    if is_locked or not os.access(os.path.dirname(target), os.W_OK):
        parser.error(f"argument --checkpoint: no file can be saved at {target}")
    return args


def main():
    """Run the post's six steps, and save its checkpoint after every epoch."""
    kept = "no checkpoint was saved"
    try:
        args = parse_args()
        torch.manual_seed(args.seed)
        print(f"Device: {args.device}", flush=True)

        # 1. DataSet
        train_dataset = read_mnist(args.data_dir, train=True)
        eval_dataset = read_mnist(args.data_dir, train=False)
        train_loader = make_loader(train_dataset, args.batch_size, shuffle=True)
        eval_loader = make_loader(eval_dataset, args.batch_size, shuffle=False)
        total_step = len(train_loader)

        # 2. Model
        model = make_model().to(args.device)

        # 3. Criterion
        criterion = nn.CrossEntropyLoss()

        # 4. Optimizer
        optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

        # 5. Train Iterator
        for epoch in range(1, args.epochs + 1):
            start = time.perf_counter()
            model.train()
            for step, (inputs, targets) in enumerate(train_loader, start=1):
                inputs, targets = inputs.to(args.device), targets.to(args.device)
                outputs = model(inputs.reshape(-1, 28 * 28))
                loss = criterion(outputs, targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if step % args.log_interval == 0:
                    where = f"Epoch [{epoch}/{args.epochs}], Step [{step}/{total_step}]"
                    print(f"{where}, Loss: {loss.item():.4f}", flush=True)

            # 6. Evaluation Logic
            accuracy, eval_loss = evaluate(model, criterion, eval_loader, args.device)
            result = f"Model Accuracy: {accuracy:.2f} %, Loss: {eval_loss:.4f}"
            print(f"{result}, Time: {time.perf_counter() - start:.1f} s", flush=True)

            # Checkpoint
            if not math.isfinite(eval_loss):
                sys.exit(f"error: the loss is {eval_loss}, try a smaller --lr; {kept}")
            save_checkpoint(model, args.checkpoint)
            kept = f"the checkpoint of epoch {epoch} is in {args.checkpoint}"
        print(f"Checkpoint: {args.checkpoint}", flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        print(f"Stopped: {kept}", file=sys.stderr)
        os._exit(130)  # sys.exit would flush the broken pipe once more
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise  # a bug keeps its traceback
        sys.exit(f"error: not enough memory, try a smaller --batch-size; {kept}")


if __name__ == "__main__":
    main()
