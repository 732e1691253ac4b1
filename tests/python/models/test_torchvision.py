"""torchvision's classification models with random weights: one of each kind, and all of them where slow tests run."""

import pytest
import torch
from tests.python.models.cloning import assert_apart, assert_cloned, assert_computes_alike, assert_shares_all
from torchvision import models

ALWAYS = {
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
}
HUGE = ["regnet_y_128gf", "vit_h_14"]  # 2.6 GB each: a clone beside the source is enough
SIDES = {"vit": 224, "maxvit": 224, "inception": 299}
WITHOUT_INIT = {"googlenet", "inception_v3"}  # theirs takes a minute, and warns that it does


def choices(names):
    return [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in names]


# Those that all tests have come first, so that each model is made once.
COMMON = choices([name for name in models.list_models(module=models) if name not in HUGE])
ALL = COMMON + choices(HUGE)


@pytest.fixture(scope="module")
def model(request):
    torch.manual_seed(0)
    options = {"init_weights": False} if request.param in WITHOUT_INIT else {}
    return models.get_model(request.param, weights=None, **options)


@pytest.fixture
def run(request):
    name = request.node.callspec.params["model"]
    side = SIDES.get(name.split("_")[0], 64)
    images = torch.linspace(-1, 1, 2 * 3 * side * side).reshape(2, 3, side, side)
    return lambda model: model(images)


@pytest.mark.parametrize("model", ALL, indirect=True)
def test_a_clone_is_its_source_all_over_again(model):
    assert_cloned(model)


@pytest.mark.parametrize("model", ALL, indirect=True)
def test_a_tower_shares_every_tensor(model, run):
    assert_shares_all(model.eval(), run)


@pytest.mark.parametrize("model", COMMON, indirect=True)
def test_clones_are_apart(model):
    assert_apart(model)


@pytest.mark.parametrize("model", COMMON, indirect=True)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_clone_computes_what_its_source_does(model, run, training):
    assert_computes_alike(model.train(training), run)
