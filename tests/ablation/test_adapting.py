"""Networks and batches of another form are measured like those of the usual form, or refused before any work."""

from collections import namedtuple

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from single_directions import ablation_curve, unit_importance
from single_directions.ablation import resolve_sites
from single_directions.errors import BadInput

Answer = namedtuple("Answer", ["features", "logits"])


class Output(dict):
    """A dict with an attribute, as some libraries give."""

    def __init__(self, scores):
        super().__init__(loss=None)
        self.scores = scores


FORMS = {
    "attribute": (lambda x: Answer(x, x), "logits"),
    "key": (lambda x: {"logits": x, "loss": None}, "logits"),
    "key that is a method's name": (lambda x: {"items": x, "values": None}, "items"),
    "place": (lambda x: (None, x), 1),
    "attribute of a mapping": (lambda x: Output(x), "scores"),
    "function": (lambda x: [x, [2 * x]], lambda answer: answer[1][0]),
}


class Network(nn.Sequential):
    """An MLP whose answer has some form; the last part is neither a module nor a site."""

    def __init__(self, form=lambda x: x):
        super().__init__()
        self.fc, self.relu, self.head = nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)
        self.form = form

    def forward(self, x):
        return self.form(self.head(self.relu(self.fc(x))))


@pytest.fixture
def networks():
    """Two networks of the same weights: one whose answer has a form, one whose answer is the logits."""

    def make(form):
        torch.manual_seed(0)
        network, plain = Network(form).train(), Network()
        plain.load_state_dict(network.state_dict())
        return network, plain

    return make


@pytest.fixture
def pairs():
    torch.manual_seed(1)
    return [(torch.randn(8, 6), torch.randint(4, (8,))) for _ in range(3)]


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_found_in_answers_of_other_forms(networks, pairs, form):
    wrap, output = FORMS[form]
    network, plain = networks(wrap)
    curve, expected = ablation_curve(network, pairs, output=output), ablation_curve(plain, pairs)
    assert curve.accuracy.equal(expected.accuracy)
    assert curve.sites == expected.sites == resolve_sites(network, None, pairs[0][0], output=output)
    assert [site.name for site in curve.sites] == ["relu"]
    assert curve.method == expected.method == "prefix"  # it is traced as the network itself would be
    assert unit_importance(network, pairs, output=output).equal(unit_importance(plain, pairs))
    assert type(network) is Network
    assert network.training
    assert network.head.training
    assert network(pairs[0][0]) is not None


def test_own_method_of_an_instance_is_the_one_that_answers(networks, pairs):
    network, plain = networks(lambda x: x)
    network.forward = lambda x: {"logits": network.head(network.relu(network.fc(x)))}
    curve = ablation_curve(network, pairs, sites=["relu"], output="logits")
    assert curve.accuracy.equal(ablation_curve(plain, pairs).accuracy)
    assert "logits" in network(pairs[0][0])


@pytest.mark.parametrize(
    ("form", "output", "told"),
    [
        ("key", None, r"its output must be logits .* it is dict; say where they are, as in output=\"logits\""),
        ("key", "logit", r"^output='logit': not found in what the network returns, dict of logits, loss$"),
        ("place", 2, r"^output=2: not found in what the network returns, tuple of 2$"),
        ("key", "loss", r"its output must be logits .* it is NoneType"),
        ("key", 1.5, r"^output=1.5: must be the name or position of the logits"),
        (
            "key",
            lambda answer: answer.logits,
            r"^output: the function fails on what the network returns, dict .*AttributeError",
        ),
    ],
)
@pytest.mark.parametrize("measured", [ablation_curve, unit_importance])
def test_answer_without_logits_is_one_line(networks, pairs, form, output, told, measured):
    network, _ = networks(FORMS[form][0])
    with pytest.raises(BadInput, match=told) as caught:
        measured(network, pairs, output=output)
    assert "\n" not in str(caught.value)


def stream(batches):
    yield from batches


class Loader:
    """What can be gone over again and is no sequence, as a DataLoader."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("kind", [list, stream, Loader])
@pytest.mark.parametrize("clamp", ["zero", "mean"])
def test_batches_of_another_form_are_measured(networks, pairs, kind, clamp):
    network, _ = networks(lambda x: x)
    dicts = [{"pixels": x, "labels": y, "name": ["a"] * len(y)} for x, y in pairs]
    keys = {"batch_to_xy": lambda batch: (batch["pixels"], batch["labels"]), "clamp": clamp}
    if kind is stream and clamp == "mean":
        with pytest.raises(BadInput, match="goes over them twice"):
            ablation_curve(network, kind(dicts), **keys)
        return
    expected = ablation_curve(network, pairs, clamp=clamp)
    assert ablation_curve(network, kind(dicts), **keys).accuracy.equal(expected.accuracy)
    assert unit_importance(network, kind(dicts), **keys).equal(unit_importance(network, pairs, clamp=clamp))


@pytest.mark.parametrize(
    ("batch_to_xy", "told"),
    [
        (None, r"not dict of pixels, labels; say how to make one: batch_to_xy=lambda batch"),
        ("labels", r"^batch_to_xy='labels': a function is needed"),
        (
            lambda batch: batch["pixel"],
            r"^batch_to_xy: the function fails on a batch, .* dict of pixels, labels \(KeyError",
        ),
        (lambda batch: batch["pixels"], r"^batch_to_xy: it must make \(inputs, targets\) of a batch, not Tensor"),
        (lambda batch: (batch, batch["labels"]), r"^batch_to_xy: the inputs must be one tensor, not dict of pixels"),
        (lambda batch: (batch["pixels"], [1]), r"^batch_to_xy: the targets must be one tensor, not list of 1"),
    ],
)
@pytest.mark.parametrize("measured", [ablation_curve, unit_importance])
def test_batches_that_are_no_pairs_are_one_line(networks, pairs, batch_to_xy, told, measured):
    network, _ = networks(lambda x: x)
    network.register_forward_hook(lambda *_: pytest.fail("something was computed"))
    dicts = [{"pixels": x, "labels": y} for x, y in pairs]
    with pytest.raises(BadInput, match=told) as caught:
        measured(network, Loader(dicts), batch_to_xy=batch_to_xy)
    assert "\n" not in str(caught.value)


def test_a_feature_extractor_is_refused_in_one_line(networks, pairs):
    _, plain = networks(lambda x: x)
    extractor = create_feature_extractor(plain, {"head": "logits"})
    with pytest.raises(BadInput, match=r"create_feature_extractor cannot be given another answer; measure it inside a"):
        ablation_curve(extractor, pairs, output="logits")

    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.extractor = extractor

        def forward(self, x):
            return self.extractor(x)["logits"]

    assert ablation_curve(Inside(), pairs).accuracy.equal(ablation_curve(plain, pairs).accuracy)
