"""Train a small network on scikit-learn's digits, then measure how much it relies on single directions."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from single_directions import AblationEstimate, ablation_auc, ablation_curve, unit_importance


def trained(loader: DataLoader, epochs: int = 20) -> nn.Module:
    """An MLP with two hidden layers of 64 units."""
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network


def main() -> AblationEstimate:
    """Print the AUC with its standard error, the curve, and the most important unit."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    train_loader = DataLoader(data, batch_size=64, shuffle=True)
    network = trained(train_loader)

    estimate = ablation_auc(network, train_loader)
    print(f"normalized AUC {estimate.auc_normalized:.3f} +- {estimate.auc_normalized_se:.3f}")

    curve = ablation_curve(network, train_loader, points=[0, 32, 64, 96, 128])
    for units, accuracy in zip(curve.units_ablated.tolist(), curve.accuracy.mean(0).tolist(), strict=True):
        print(f"{units:3d} of {curve.units} units clamped: accuracy {accuracy:.2f}")

    importance = unit_importance(network, train_loader)
    print(f"the most important unit is {int(importance.argmax())}: without it accuracy falls by {importance.max():.3f}")
    return estimate


if __name__ == "__main__":
    main()
