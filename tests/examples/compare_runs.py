"""Draw the evaluation losses of several runs in one picture, compared.png.

    python compare_runs.py sgd.pth adam.pth

The names are those of the checkpoints. Each run was one of a script with the change
"loss curve", which leaves sgd.pth.losses beside sgd.pth. Needs matplotlib.
"""

import argparse

import matplotlib.pyplot as plt
import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT")
    args = parser.parse_args()

    _, axes = plt.subplots()
    for path in args.checkpoints:
        _, eval_losses = torch.load(f"{path}.losses")
        axes.plot(range(1, len(eval_losses) + 1), eval_losses, "o-", label=path)
    axes.set(xlabel="epoch", ylabel="evaluation loss")
    axes.legend()
    plt.savefig("compared.png")
    print("Saved: compared.png")


if __name__ == "__main__":
    main()
