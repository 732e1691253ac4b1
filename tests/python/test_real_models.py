"""Real architectures with random weights; many more of them in models/."""

import pytest
import torch
from torch import nn

import ramet


def resnet50():
    from torchvision.models import resnet50

    return resnet50(), (torch.rand(1, 3, 64, 64),)


def transformer():
    return nn.Transformer(32, 2, 2, 2, 64), (torch.rand(5, 1, 32), torch.rand(4, 1, 32))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=99)), (torch.arange(9)[None],)


def bert():
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37)
    return BertForMaskedLM(config), (torch.arange(9)[None],)


def t5():
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)), (
        torch.arange(9)[None],
    )


def output(model, inputs):
    result = model(*inputs)
    for name in "logits", "last_hidden_state":
        result = getattr(result, name, result)
    return result


@pytest.mark.parametrize("make", [resnet50, transformer, gpt2, bert, t5])
def test_a_clone_is_as_its_source_and_apart(make):
    model, inputs = make()
    model.eval()
    clone = ramet.clone(model)
    with torch.no_grad():
        expected = output(model, inputs)
        assert torch.equal(expected, output(clone, inputs))
        for parameter in clone.parameters():
            parameter.add_(1)
        assert torch.equal(expected, output(model, inputs))
        changed = output(clone, inputs)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(changed, output(clone, inputs))
    assert list(ramet.catalog(clone)) == list(ramet.catalog(model))


@pytest.mark.parametrize("make", [resnet50, transformer, gpt2, bert])
def test_a_tower_that_shares_everything_trains_its_source(make):
    model, inputs = make()
    tower = ramet.clone(model, share=True)
    output(tower.eval(), inputs).pow(2).sum().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all(a.grad is b.grad for a, b in zip(model.parameters(), tower.parameters(), strict=True))
    assert model.training and all(a is not b for a, b in zip(model.modules(), tower.modules(), strict=True))


def test_ties_of_real_models_are_found_and_missing_biases_are_not():
    assert len(ramet.catalog(resnet50()[0])) == 0
    assert ramet.catalog(gpt2()[0])[0].names == ("transformer.wte.weight", "lm_head.weight")
    model = gpt2()[0]
    assert {"tensor"} == {tie.kind for tie in ramet.catalog(model)}
