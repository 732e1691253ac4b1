"""What is cloned, and by whom."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torch import nn

import ramet

# A torchvision made for another build of torch lacks two compiled operators; its models do not use them.
TORCHVISION = torch.library.Library("torchvision", "DEF")
TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

DEEPCOPY = "copy.deepcopy"
Calls = dict[str, Callable[[], Any]]


def tiny_layers(count: int) -> nn.Module:
    return nn.Sequential(*[nn.Linear(8, 8) for _ in range(count)])


def of_bytes(nbytes: int) -> nn.Module:
    """Eight layers without biases."""
    layers = [nn.Linear(1, 1, bias=False) for _ in range(8)]
    for layer in layers:
        layer.weight = nn.Parameter(torch.ones(nbytes // 8 // 4096, 1024))
    return nn.Sequential(*layers)


def tiny_bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=37)
    )


def tiny_t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=37, num_layers=3, num_heads=4))


def resnet50() -> nn.Module:
    from torchvision.models import resnet50 as make

    return make()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-50": resnet50,
    "nn.Transformer": nn.Transformer,
    "tiny BERT": tiny_bert,
    "tiny T5": tiny_t5,
    "2000 Linear(8, 8)": lambda: tiny_layers(2000),
    "20,000 Linear(8, 8)": lambda: tiny_layers(20_000),
    "1 GiB": lambda: of_bytes(1 << 30),
    "8 GiB": lambda: of_bytes(8 << 30),
}

# Left out where there is no memory for them, and what takes long.
LARGE = {"1 GiB": 1 << 30, "8 GiB": 8 << 30}
LONG = ["20,000 Linear(8, 8)", *LARGE]

# Each mode beside copy, of the model as a whole.
MODES = ["share", "alias", "lazy", "differentiable", "init", "meta"]


def nbytes_of(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


def each_tensor(model: nn.Module) -> list[torch.Tensor]:
    with torch.no_grad():
        return [tensor.clone() for tensor in [*model.parameters(), *model.buffers()]]


def by_hand() -> Any:
    """The extension that does what nothing can leave out, if it was built."""
    try:
        import limit
    except ImportError:
        return None
    return limit


def clones(model: nn.Module) -> Calls:
    """A clone in every mode beside deepcopy, the tensors' own clone(), and a clone that gradients flow through.

    Where structure dominates, the limit too: what no clone can leave out, by hand.
    """
    calls: Calls = {DEEPCOPY: lambda: copy.deepcopy(model), "a clone() a tensor": lambda: each_tensor(model)}
    calls["TorchOpt: module_clone"] = lambda: torchopt.module_clone(model, by="copy")
    calls["Ramet"] = lambda: ramet.clone(model)
    # init makes a scratch clone as well, for which a large model leaves no memory.
    large = nbytes_of(model) >= 1 << 30
    for mode in MODES:
        if large and mode == "init":
            continue
        calls[f"Ramet: {mode}"] = lambda mode=mode: ramet.clone(model, **{mode: True})
    if nbytes_of(model) < 4 << 20 and (limit := by_hand()):
        modules = list(model.modules())
        calls["limit: a copy by hand"] = lambda: limit.clone(modules)
    return {who: call for who, call in calls.items() if works(call)}


def works(call: Callable[[], Any]) -> bool:
    """Whether a model has what a mode asks for: init needs modules that can be initialized anew."""
    try:
        call()
    except ramet.PlanError:
        return False
    return True


def several(count: int) -> Calls:
    """The layers of a Transformer from one."""
    layer = nn.TransformerEncoderLayer(512, 8)
    return {
        DEEPCOPY: lambda: nn.ModuleList([copy.deepcopy(layer) for _ in range(count)]),
        "Ramet": lambda: nn.ModuleList(ramet.clones(layer, count)),
    }


def in_pairs(first: list[nn.Module], second: list[nn.Module]) -> nn.Module:
    """A model whose layers are tied two by two."""
    for a, b in zip(first, second, strict=True):
        b.weight = a.weight
    return nn.ModuleList([nn.ModuleList(first), nn.ModuleList(second)])


def parameters_in_pairs() -> nn.Module:
    parameters = [nn.Parameter(torch.ones(8)) for _ in range(4000)]
    return nn.ModuleList([nn.ParameterList(parameters), nn.ParameterList(parameters)])


TIED: dict[str, Callable[[], nn.Module]] = {
    "catalog: 4000 ties of 8000 modules": lambda: in_pairs(
        [nn.Embedding(8, 8) for _ in range(4000)], [nn.Linear(8, 8, bias=False) for _ in range(4000)]
    ),
    "catalog: 4000 ties of 2 modules": parameters_in_pairs,
}


def catalogs(model: nn.Module) -> Calls:
    """The catalog beside accelerate's list of tied parameters; both give every tie as Python objects."""
    from accelerate.utils import find_tied_parameters

    ties = list(ramet.catalog(model))
    assert len(ties) == len(find_tied_parameters(model)) == 4000
    calls: Calls = {"accelerate": lambda: find_tied_parameters(model), "Ramet": lambda: list(ramet.catalog(model))}
    if limit := by_hand():
        modules = list(model.modules())
        calls["limit: each looked at once"] = lambda: limit.catalog(modules, ties)
    return calls
