"""Stop your own Lightning training by the area under its ablation curve: no test set is needed for it."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from torch.utils.data import DataLoader, TensorDataset

from single_directions import AblationAUC


class OwnNetwork(pl.LightningModule):
    """Any LightningModule will do: here functional ReLUs and a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 128)
        self.second = nn.Linear(128, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = relu(self.first(images))
        return self.head(hidden + relu(self.second(hidden)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        return cross_entropy(self(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> AblationAUC:
    """Train on scikit-learn's digits until the AUC has fallen by more than noise explains, 30 epochs at most.

    Their labels are true, so nothing stops this training.
    """
    pl.seed_everything(0, verbose=False)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    ablation = AblationAUC()  # or AblationAUC(sites=["relu"]): names as in torchvision's feature extraction
    stopper = EarlyStopping("ablation/fall", mode="min", divergence_threshold=3, patience=1000)
    trainer = pl.Trainer(
        max_epochs=30,
        callbacks=[ablation, stopper],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(OwnNetwork(), DataLoader(data, batch_size=64, shuffle=True))
    for epoch, values in ablation.values.items():
        auc, error = values["auc_normalized"], values["auc_normalized_se"]
        print(f"epoch {epoch + 1}: normalized AUC {auc:.3f} +- {error:.3f}, training accuracy {values['accuracy']:.3f}")
    return ablation


if __name__ == "__main__":
    main()
