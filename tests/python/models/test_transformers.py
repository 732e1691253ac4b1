"""Models of transformers: clones are like their source, apart from it, and can be saved, loaded and asked as it can."""

import pytest
import torch
from tests.python.models.architectures import ARCHITECTURES
from tests.python.models.cloning import (
    assert_apart,
    assert_cloned,
    assert_computes_alike,
    assert_same_bits,
    assert_shares_all,
    contents,
)

import ramet


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    return ARCHITECTURES[request.param]


@pytest.fixture(scope="module")
def model(architecture):
    return architecture.make()


@pytest.fixture
def run(architecture):
    return lambda model: model(**architecture.inputs())


def test_a_clone_is_its_source_all_over_again(model):
    assert_cloned(model)


def test_clones_are_apart(model):
    assert_apart(model)


def test_a_tower_shares_every_tensor(model, run):
    assert_shares_all(model, run)


def test_a_clone_computes_what_its_source_does(model, run):
    assert_computes_alike(model, run)


def test_a_clone_is_saved_and_loaded_as_its_source(model, tmp_path):
    model.save_pretrained(tmp_path / "source")
    ramet.clone(model).save_pretrained(tmp_path / "clone")
    files = sorted(path.name for path in (tmp_path / "source").iterdir())
    assert "model.safetensors" in files
    assert sorted(path.name for path in (tmp_path / "clone").iterdir()) == files
    for name in files:
        assert (tmp_path / "clone" / name).read_bytes() == (tmp_path / "source" / name).read_bytes()
    loaded = type(model).from_pretrained(tmp_path / "clone")
    assert_same_bits(contents(loaded), contents(model))
    assert_cloned(loaded)


@pytest.mark.parametrize("architecture", [key for key in ARCHITECTURES if ARCHITECTURES[key].generates], indirect=True)
@pytest.mark.parametrize("sampled", [False, True], ids=["greedily", "by_chance"])
def test_a_clone_generates_what_its_source_does(architecture, model, sampled):
    inputs = {name: value for name, value in architecture.inputs().items() if name != "decoder_input_ids"}

    def generated(model):
        torch.manual_seed(0)
        return model.generate(**inputs, max_new_tokens=5, do_sample=sampled)

    expected = generated(model)
    assert expected.numel() > 4
    assert torch.equal(generated(ramet.clone(model)), expected)
    assert torch.equal(generated(ramet.clone(model, share=True)), expected)
    assert_cloned(model)
