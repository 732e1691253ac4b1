"""meta: what a skeleton has, and what becomes of its ties and buffers when a checkpoint fills it."""

import pytest
import torch
from tests.python.tied import Tied, error
from torch import nn

import ramet

TOKENS = torch.tensor([1, 2])


@pytest.fixture
def model() -> Tied:
    return Tied()


class TestMeta:
    def test_shapes_and_ties_without_memory(self, model: Tied) -> None:
        skeleton = ramet.clone(model, meta=True)
        assert all(p.is_meta for p in skeleton.parameters())
        assert skeleton.steps.is_meta
        assert skeleton.steps.dtype == torch.long
        assert skeleton.head.weight is skeleton.embed.weight
        assert isinstance(skeleton.norm.weight, nn.Parameter)
        assert skeleton.norm.weight.requires_grad
        assert ramet.plan(model, meta=True).nbytes == 0

    def test_only_what_is_named(self, model: Tied) -> None:
        part = ramet.clone(model, meta="norm")
        assert part.norm.weight.is_meta
        assert torch.equal(part.head.bias, model.head.bias)

    def test_views_stay_views_of_one_storage(self) -> None:
        holder = nn.Module()
        base = torch.arange(8.0)
        holder.register_buffer("base", base)
        holder.register_buffer("part", base[2:6].view(2, 2))
        skeleton = ramet.clone(holder, meta=True)
        assert skeleton.part.untyped_storage()._cdata == skeleton.base.untyped_storage()._cdata
        assert skeleton.part.storage_offset() == 2

    def test_it_is_loaded_by_assignment(self, model: Tied) -> None:
        skeleton = ramet.clone(model, meta=True)
        skeleton.load_state_dict(model.state_dict(), assign=True)
        assert torch.equal(skeleton(torch.tensor([3])), model(torch.tensor([3])))

    def test_what_is_sparse_cannot_be(self) -> None:
        holder = nn.Module()
        holder.register_buffer("table", torch.eye(3).to_sparse())
        message = (
            "clone: slot 'table': meta=True cannot apply to it: it is sparse or quantized; name it in "
            "copy or share, by "
            "its exact path"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(holder, meta=True)
        assert not ramet.clone(holder, meta=True, copy="table").table.is_meta


def is_tied(model: Tied) -> bool:
    return model.head.weight is model.embed.weight


class TestFilling:
    @pytest.fixture
    def checkpoint(self) -> Tied:
        return Tied()

    def check(self, filled: Tied, checkpoint: Tied, source: Tied) -> None:
        """A filled skeleton is the checkpoint's model, tied; its source has nothing of it."""
        before, saved = source(TOKENS), checkpoint(TOKENS)
        assert torch.equal(filled(TOKENS), saved)
        assert is_tied(filled)
        ramet.testing.assert_independent(source, filled)
        with torch.no_grad():
            filled.head.weight.fill_(2)
        assert (filled.embed.weight == 2).all()
        assert torch.equal(source(TOKENS), before)

    def test_to_empty_unties_and_tie_puts_it_back(self, model: Tied, checkpoint: Tied) -> None:
        skeleton = ramet.clone(model, meta=True).to_empty(device="cpu")
        assert not is_tied(skeleton)
        ramet.tie(skeleton, "embed.weight", "head.weight")
        skeleton.load_state_dict(checkpoint.state_dict())
        self.check(skeleton, checkpoint, model)

    def test_load_state_dict_assign_unties_and_tie_puts_it_back(self, model: Tied, checkpoint: Tied) -> None:
        skeleton = ramet.clone(model, meta=True)
        skeleton.load_state_dict(checkpoint.state_dict(), assign=True)
        assert not is_tied(skeleton)
        assert [tie.kind for tie in ramet.catalog(skeleton)] == ["storage"]  # one memory, but two gradients
        ramet.tie(skeleton, "embed.weight", "head.weight")
        self.check(skeleton, checkpoint, model)

    def test_ramets_assign_keeps_it(self, model: Tied, checkpoint: Tied) -> None:
        skeleton = ramet.clone(model, meta=True)
        saved = checkpoint.state_dict()
        del saved["head.weight"]
        ramet.assign(skeleton, saved)
        self.check(skeleton, checkpoint, model)

    def test_one_name_loaded_alone_leaves_the_other_on_meta(self, model: Tied, checkpoint: Tied) -> None:
        skeleton = ramet.clone(model, meta=True)
        saved = checkpoint.state_dict()
        del saved["embed.weight"]
        skeleton.load_state_dict(saved, assign=True, strict=False)
        assert skeleton.embed.weight.is_meta
        with pytest.raises(ramet.PlanError, match=r"'embed.weight' is float32 \[6, 4\] on meta"):
            ramet.tie(skeleton, "head.weight", "embed.weight")
        ramet.assign(skeleton, {"embed.weight": skeleton.head.weight})
        self.check(skeleton, checkpoint, model)

    def test_plain_load_state_dict_loads_nothing(self, model: Tied, checkpoint: Tied) -> None:
        skeleton = ramet.clone(model, meta=True)
        with pytest.warns(UserWarning, match="a no-op"):
            skeleton.load_state_dict(checkpoint.state_dict())
        assert skeleton.norm.weight.is_meta

    @pytest.mark.parametrize("fill", ["assign=True", "ramet.assign"])
    def test_buffers_that_no_checkpoint_has(self, model: Tied, checkpoint: Tied, fill: str) -> None:
        model.register_buffer("mask", torch.arange(3.0), persistent=False)

        def filled(**rules: object) -> Tied:
            skeleton = ramet.clone(model, **rules)
            saved = checkpoint.state_dict()
            if fill == "ramet.assign":
                ramet.assign(skeleton, {name: saved[name] for name, _ in skeleton.named_parameters()})
            else:
                skeleton.load_state_dict(saved, assign=True)
            return skeleton

        assert filled(meta=True).mask.is_meta
        assert filled(meta=nn.Parameter).mask.tolist() == [0, 1, 2]
        assert filled(meta=True, share=nn.Buffer).mask is model.mask

    def test_a_skeleton_computes_shapes(self, model: Tied) -> None:
        result = ramet.clone(model, meta=True)(TOKENS.to("meta"))
        assert (result.is_meta, result.shape) == (True, (2, 6))

    def test_only_some_of_it(self, model: Tied, checkpoint: Tied) -> None:
        variant = ramet.clone(model, share=True, meta="norm")
        variant.load_state_dict(checkpoint.norm.state_dict(prefix="norm."), assign=True, strict=False)
        assert torch.equal(variant.norm.weight, checkpoint.norm.weight)
        assert is_tied(variant)
        assert variant.head.weight is model.head.weight
        with torch.no_grad():
            variant.norm.weight.fill_(7)
        assert (model.norm.weight == 1).all()
