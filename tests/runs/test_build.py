"""A run's parts, and bad input that is found in them before training."""

import pytest

from single_directions.errors import BadInput
from single_directions.runs.build import build


def test_parts_fit_each_other(settings):
    parts = build(settings("ablation.samples=50", "data.corruption=0.5"))
    assert [(site.name, site.units) for site in parts.sites] == [("relu1", 16), ("relu2", 8)]
    assert len(parts.data.train) == 200
    assert len(parts.measured) == 50
    labels = [int(parts.measured[i][1]) for i in range(50)]
    assert sorted(labels) == sorted(list(range(10)) * 5)


def test_all_training_images_are_measured_unless_fewer_are_asked_for(settings):
    parts = build(settings())
    assert parts.measured is parts.data.train_plain


def test_measured_sample_follows_from_ablation_seed(settings):
    first, again, other = (
        build(settings("ablation.samples=50", f"ablation.seed={seed}")).measured.indices for seed in (0, 0, 1)
    )
    assert first == again != other


def test_initialization_follows_from_seed_alone(settings):
    weights = [
        build(settings(*overrides)).network.fc1.weight
        for overrides in (["seed=1"], ["seed=1", "data.seed=4", "data.corruption=1"], ["seed=2"])
    ]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["ablation.sites=[relu1,relu7]"], "relu7.*relu2"),
        (["ablation.sites=relu1"], "sites"),
        (["ablation.points=26"], "ablation.points=26 is more than 24 units"),
        (["ablation.points=1"], "ablation.points"),
        (["ablation.points=[0,5,3]"], "ablation.points"),
        (["ablation.points=[0,5,10]"], "ablation.points must reach from 0 to all 24 units"),
        (["ablation.points=2.5"], "ablation.points"),
        (["ablation.top_k=10"], "ablation.top_k must be below the number of classes, 10"),
        (["ablation.samples=201"], "ablation.samples.*200"),
        (["data.train_samples=1298"], "data.train_samples.*1297"),
        (["data.train_samples=9"], "data.train_samples"),
        (["data.corruption_kind=swap"], "data.corruption_kind.*shuffle"),
        (["data=mnist", "data.root=/nowhere"], "MNIST.*/nowhere.*data.download=true"),
        (["data=image_folder", "data.root=/nowhere"], "/nowhere"),
        (["network.hidden=[16,none]"], "network.hidden"),
        (["network.dropout=1"], "network.dropout"),
        (["+network.depth=3"], r"network\.depth: .*MLP has no such key"),
        (["network._target_=torch.nn.Lineal"], "network: .*Lineal"),
        (["network._target_=torch.nn.Identity", "~network.hidden", "~network.dropout"], "network"),
        (["optimizer.lr=-1"], "optimizer: .*learning rate"),
        (["optimizer.lr=inf"], "optimizer.lr must be a finite number, not inf"),
        (["optimizer.lr=nan"], "optimizer.lr must be a finite number, not nan"),
        (["optimizer.weight_decay=inf"], "optimizer.weight_decay must be a finite number, not inf"),
        (["optimizer=adam", "+optimizer.betas=[0.9,nan]"], r"optimizer.betas must be a finite number, not \[0.9, nan"),
        (["scheduler=steps", "scheduler.gamma=inf"], "scheduler.gamma must be a finite number, not inf"),
        (["+trainer.gradient_clip_val=nan"], "trainer.gradient_clip_val must be a number, not nan"),
        (["optimizer.lr=fast"], r"optimizer: .*; it was given .*optimizer\.lr='fast'"),
        (["optimizer.lr=null"], r"optimizer: .*; it was given .*optimizer\.lr=None"),
        (["ablation.every_epoch=5"], r"ablation\.every_epoch must be null or have keys, .* not 5"),
        (["ablation.every_epoch=[a]"], r"ablation\.every_epoch must be null or have keys, .* not \['a'\]"),
        (["ablation.every_epoch={sites: [x]}"], "^ablation.every_epoch.sites: site 'x'"),
        (["ablation.every_epoch={sites: 5}"], "^ablation.every_epoch.sites=5: a list of names is needed"),
        (["ablation.sites=5"], "^ablation.sites=5: a list of names is needed"),
        (["ablation.every_epoch={clamp: x}"], "^ablation.every_epoch.clamp='x'"),
        (["ablation.every_epoch={top_k: 10}"], "^ablation.every_epoch.top_k=10"),
        (["+optimizer.momentun=0.9"], "optimizer: .*momentun"),
        (["scheduler=cosine", "+scheduler.step=2"], "scheduler: .*step"),
    ],
)
def test_bad_input_is_told_in_one_line(settings, overrides, told):
    with pytest.raises(BadInput, match=told) as caught:
        build(settings(*overrides))
    assert "\n" not in str(caught.value)


def test_measurement_during_training_is_tried_with_all_its_keys(settings, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rows_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    default_sites = ('relu',)\n"
        "    def __init__(self, input_shape, classes):\n"
        "        super().__init__()\n"
        "        self.relu, self.rows, self.head = nn.ReLU(), nn.Identity(), nn.Linear(64, classes)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.rows(self.relu(x.flatten(1)).view(len(x), 4, 16)).flatten(1))\n"
    )
    net = ("network._target_=rows_net.Net", "~network.hidden", "~network.dropout")
    with pytest.raises(BadInput, match=r"^ablation\.every_epoch\.sites: site 'rows': cannot tell in which dimension "):
        build(settings(*net, "ablation.every_epoch={sites: [rows]}"))
    parts = build(settings(*net, "ablation.every_epoch={sites: [rows], unit_dim: 1}"))
    assert parts.every_epoch.unit_dim == 1


ONE_CYCLE = ("+scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "+scheduler.max_lr=0.1")
GROWING = ("+scheduler._target_=torch.optim.lr_scheduler.ExponentialLR", "trainer.max_epochs=40")


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ((*ONE_CYCLE, "+scheduler.total_steps=30", "trainer.max_epochs=40"), "in epoch 31 of .*=40: .*total_steps=30"),
        ((*GROWING, "+scheduler.gamma=1e50"), "in epoch 8 of .*=40: the learning rate is inf; it was given .*gamma=1e"),
        ((*GROWING, "+scheduler.gamma=-1"), r"in epoch 2 of .*: the learning rate is -0\.03; .*scheduler.gamma=-1"),
        (["+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"], "in epoch 1 of .*'metrics'; .* no keys"),
    ],
)
def test_schedule_is_tried_for_all_epochs(settings, schedule, told):
    made = ["scheduler={}", *schedule, "+scheduler._partial_=true"]
    with pytest.raises(BadInput, match=f"^scheduler {told}") as caught:
        build(settings(*made))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("schedule", [(*ONE_CYCLE, "+scheduler.total_steps=40"), (*GROWING, "+scheduler.gamma=1e-30")])
def test_schedule_that_lasts_is_taken(settings, schedule):
    build(settings("scheduler={}", *schedule, "+scheduler._partial_=true", "trainer.max_epochs=40"))


def test_network_made_for_other_images_is_named(settings, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_network.py").write_text(
        "from torch import nn\n"
        "def network(input_shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, classes))\n"
    )
    config = settings("network._target_=their_network.network", "~network.hidden", "~network.dropout")
    with pytest.raises(BadInput, match=r"^network: cannot take images \(1, 8, 8\): ") as caught:
        build(config)
    assert "\n" not in str(caught.value)
