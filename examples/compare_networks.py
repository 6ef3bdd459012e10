"""Two networks on scikit-learn's digits, one with true and one with shuffled labels: which relies more on single units?

Both learn their training labels. The network that had to memorize them falls sooner (Figure 1a of the paper).
Writes compare_networks.png, or the file named on the command line.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from single_directions import AblationCurve, ablation_curve
from single_directions.data import collate, digits
from single_directions.networks import MLP


def fit(network: nn.Module, loader: DataLoader, epochs: int = 300) -> float:
    """Train until every label is learnt, `epochs` at most; returns the training accuracy of the last epoch."""
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(epochs):
        right = images = 0
        for inputs, labels in loader:
            logits = network(inputs)
            optimizer.zero_grad()
            cross_entropy(logits, labels).backward()
            optimizer.step()
            right += int((logits.argmax(1) == labels).sum())
            images += len(labels)
        if right == images:
            break
    return right / images


def main(file: Path = Path("compare_networks.png")) -> dict[str, AblationCurve]:
    """Train and measure both networks, print their AUCs and draw their curves."""
    curves = {}
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, corruption in (("true labels", 0.0), ("shuffled labels", 1.0)):
        torch.manual_seed(0)
        data = digits(corruption=corruption)
        network = MLP(data.input_shape, data.classes, hidden=(128, 128))
        accuracy = fit(network, DataLoader(data.train, batch_size=128, shuffle=True, collate_fn=collate))
        curve = ablation_curve(network, DataLoader(data.train, batch_size=1000, collate_fn=collate))
        curves[name] = curve
        print(f"{name}: training accuracy {accuracy:.3f}, AUC {curve.auc.mean():.3f}")
        mean, spread = curve.accuracy.mean(0), curve.accuracy.std(0)
        axes.plot(curve.fraction_ablated, mean, label=name)
        axes.fill_between(curve.fraction_ablated, mean - spread, mean + spread, alpha=0.2)
    axes.set(xlabel="fraction of units clamped", ylabel="training accuracy", ylim=(0, 1.02))
    axes.legend()
    figure.savefig(file, dpi=150)
    print(f"figure: {file}")
    return curves


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
