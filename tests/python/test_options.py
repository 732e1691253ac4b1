"""freeze, untie, grads, device, dtype: what each gives, what ties do, what is refused."""

import copy
import re

import pytest
import torch
from tests.python.tied import Tied, error
from torch import nn

import ramet


@pytest.fixture
def model() -> Tied:
    return Tied()


class TestFreeze:
    def test_everything_of_the_clones_own(self, model: Tied) -> None:
        frozen = ramet.clone(model, freeze=True)
        assert not any(p.requires_grad for p in frozen.parameters())
        assert all(p.requires_grad for p in model.parameters())

    def test_what_is_shared_stays_as_it_is(self, model: Tied) -> None:
        clone = ramet.clone(model, share="norm", freeze=True)
        assert clone.norm.weight.requires_grad
        assert not clone.head.weight.requires_grad

    def test_one_name_freezes_a_tied_tensor(self, model: Tied) -> None:
        clone = ramet.clone(model, freeze="head.weight")
        assert not clone.embed.weight.requires_grad
        assert clone.head.bias.requires_grad

    @pytest.mark.parametrize("rule", [nn.LayerNorm, "norm", "norm.*", ["norm.weight", "norm.bias"]])
    def test_by_every_selector(self, model: Tied, rule: object) -> None:
        clone = ramet.clone(model, freeze=rule)
        assert not clone.norm.weight.requires_grad
        assert clone.head.bias.requires_grad

    def test_an_alias_is_frozen_alone(self, model: Tied) -> None:
        clone = ramet.clone(model, alias=True, freeze=True)
        assert not clone.norm.weight.requires_grad
        assert model.norm.weight.requires_grad

    def test_a_tensor_that_clones_itself_is_frozen_too(self) -> None:
        lazy = nn.LazyLinear(3)
        assert not ramet.clone(lazy, freeze=True).weight.requires_grad
        assert lazy.weight.requires_grad

    def test_a_shared_one_is_an_error(self, model: Tied) -> None:
        message = (
            "clone: slot 'norm.weight': freeze='norm' names it, and it stays the source's own "
            "(share=True): freezing it "
            "would freeze the source; copy it, or name less in freeze"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, share=True, freeze="norm")

    def test_a_kept_one_is_an_error(self, model: Tied) -> None:
        message = "clone: freeze='norm' names what keep='norm' already keeps whole; drop it, or keep less"
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, keep="norm", freeze="norm")

    def test_everything_of_nothing_is_an_error(self, model: Tied) -> None:
        message = (
            "clone: freeze=True names everything of the clone's own, and there is nothing: all of it "
            "is shared or kept; "
            "drop it, or share less"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, share=True, freeze=True)
        assert ramet.clone(nn.ReLU(), freeze=True) is not None

    def test_the_plan_says_so(self, model: Tied) -> None:
        assert ramet.plan(model, freeze="norm")["norm.bias"].why == "default, freeze='norm'"


class TestUntie:
    def test_the_named_slot_gets_a_tensor_of_its_own(self, model: Tied) -> None:
        clone = ramet.clone(model, untie="head.weight")
        assert clone.head.weight is not clone.embed.weight
        assert torch.equal(clone.head.weight, clone.embed.weight)
        with torch.no_grad():
            clone.head.weight.fill_(0)
        assert clone.embed.weight.any()
        assert model.head.weight is model.embed.weight
        assert not ramet.catalog(clone)

    def test_what_would_be_shared_is_copied(self, model: Tied) -> None:
        clone = ramet.clone(model, share=True, untie="head.weight")
        assert clone.embed.weight is model.embed.weight
        assert clone.head.weight is not model.head.weight
        assert ramet.plan(model, share=True, untie="head.weight")["head.weight"].why == "untied"

    def test_a_rule_then_names_it_alone(self, model: Tied) -> None:
        clone = ramet.clone(model, untie="head.weight", share="embed", freeze="head.weight")
        assert clone.embed.weight is model.embed.weight
        assert not clone.head.weight.requires_grad
        assert model.head.weight.requires_grad

    def test_true_unties_everything(self) -> None:
        layer = nn.Linear(2, 2)
        layer.again = layer.weight
        inner = nn.ModuleList([layer, layer, nn.Linear(2, 2)])
        inner[2].weight = layer.weight
        clone = ramet.clone(inner, untie=True)
        tensors = [clone[0].weight, clone[0].again, clone[1].weight, clone[1].again, clone[2].weight]
        assert len({id(t) for t in tensors}) == 5
        assert len({t.data_ptr() for t in tensors}) == 5
        assert clone[0] is not clone[1]
        assert not ramet.catalog(clone)

    def test_a_modules_second_path(self) -> None:
        shared = nn.Linear(2, 2)
        model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared)})
        shared.parent = [model]
        clone = ramet.clone(model, untie="b.0")
        assert clone["a"][0] is not clone["b"][0]
        assert clone["a"][0].weight is not clone["b"][0].weight
        assert torch.equal(clone["b"][0].weight, shared.weight)
        assert clone["b"][0].parent[0] is clone

    def test_views_get_memory_of_their_own(self) -> None:
        holder = nn.Module()
        base = torch.arange(8.0)
        holder.register_buffer("base", base)
        holder.register_buffer("part", base[2:6])
        clone = ramet.clone(holder, untie="part")
        assert clone.part.untyped_storage()._cdata != clone.base.untyped_storage()._cdata
        assert clone.part.tolist() == [2, 3, 4, 5]

    def test_an_rnns_flat_weights_follow(self) -> None:
        model = nn.ModuleList([nn.LSTM(2, 3), nn.LSTM(2, 3)])
        model[1].weight_ih_l0 = model[0].weight_ih_l0
        clone = ramet.clone(model, untie="1.weight_ih_l0")
        assert clone[1]._flat_weights[0] is clone[1].weight_ih_l0
        assert clone[0]._flat_weights[0] is clone[0].weight_ih_l0
        assert clone[1].weight_ih_l0 is not clone[0].weight_ih_l0

    def test_a_glob_unties_the_tied_ones_that_it_matches(self, model: Tied) -> None:
        clone = ramet.clone(model, untie="head.*")
        assert clone.head.weight is not clone.embed.weight

    def test_a_module_that_clones_itself(self) -> None:
        class Own(nn.Linear):
            def __deepcopy__(self, memo: dict[int, object]) -> "Own":
                made = Own(2, 2)
                made.weight = copy.deepcopy(self.weight, memo)
                return made

        own = Own(2, 2)
        clone = ramet.clone(nn.ModuleList([own, own]), untie="1")
        assert clone[0] is not clone[1]
        assert clone[0].weight is not clone[1].weight
        assert torch.equal(clone[0].weight, clone[1].weight)

    @pytest.mark.parametrize(
        ("untie", "message"),
        [
            ("norm.weight", "clone: untie='norm.weight' names a slot that is not tied to anything; drop it"),
            ("hed.weight", "clone: untie='hed.weight' matches nothing; the nearest names are 'head.weight', "),
            ("norm.*", "clone: untie='norm.*' matches no tensor that is tied"),
            (
                nn.LayerNorm,
                "clone: untie=nn.LayerNorm is no selector for untie, which names slots: give True, a path or",
            ),
        ],
    )
    def test_what_is_not_tied_is_an_error(self, model: Tied, untie: object, message: str) -> None:
        with pytest.raises(ramet.PlanError, match="^" + re.escape(message)):
            ramet.clone(model, untie=untie)

    def test_a_tensor_reached_through_a_module_with_two_names(self) -> None:
        layer = nn.Linear(2, 2)
        model = nn.ModuleDict({"a": layer, "b": layer})
        message = (
            "clone: untie='b.weight' is reached through module 'b', which has two names: untie the module, by untie='b'"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, untie="b.weight")

    @pytest.mark.parametrize(
        ("keep", "where"), [("head", ", with the module that it is in"), ("embed.weight", "")], ids=["module", "tensor"]
    )
    def test_what_is_kept_cannot_be_untied(self, model: Tied, keep: str, where: str) -> None:
        message = (
            f"clone: slot 'head.weight': untie names it, and keep keeps what it holds{where}: it cannot have both; "
            "drop one of the two, or share its other names instead of keeping them"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, keep=keep, untie="head.weight")


class TestGrads:
    def test_they_are_dropped_unless_asked_for(self, model: Tied) -> None:
        model(torch.tensor([1])).sum().backward()
        assert ramet.clone(model).norm.weight.grad is None
        clone = ramet.clone(model, grads="copy")
        for mine, theirs in zip(clone.parameters(), model.parameters(), strict=True):
            assert torch.equal(mine.grad, theirs.grad)
            assert mine.grad.data_ptr() != theirs.grad.data_ptr()

    def test_a_shared_one_is_the_same_anyway(self, model: Tied) -> None:
        model(torch.tensor([1])).sum().backward()
        clone = ramet.clone(model, share="norm", grads="copy")
        assert clone.norm.weight.grad is model.norm.weight.grad

    def test_there_are_none_on_meta(self, model: Tied) -> None:
        message = "clone: grads cannot be copied to device=meta, where nothing has values; drop one of the two"
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, device="meta", grads="copy")

    def test_they_are_counted_in_the_plan(self, model: Tied) -> None:
        without = ramet.plan(model, grads="copy").nbytes
        model(torch.tensor([1])).sum().backward()
        assert ramet.plan(model, grads="copy").nbytes == without + sum(4 * p.numel() for p in model.parameters())

    def test_they_follow_the_dtype(self, model: Tied) -> None:
        model(torch.tensor([1])).sum().backward()
        assert ramet.clone(model, grads="copy", dtype=torch.float64).norm.weight.grad.dtype == torch.float64

    def test_a_tensor_that_clones_itself_has_its_own_too(self) -> None:
        class Own(nn.Parameter):
            def __deepcopy__(self, memo: dict[int, object]) -> "Own":
                return Own(self.data.clone())

        holder = nn.Module()
        holder.weight = Own(torch.ones(2))
        holder.weight.grad = torch.full((2,), 3.0)
        clone = ramet.clone(holder, grads="copy")
        assert type(clone.weight) is Own
        assert clone.weight.grad.tolist() == [3, 3]
        assert clone.weight.grad is not holder.weight.grad
        assert ramet.clone(holder).weight.grad is None

    def test_a_meta_tensor_has_none(self, model: Tied) -> None:
        message = (
            "clone: slot 'norm.weight': grads cannot be copied to it, for meta='norm' gives it values "
            "of its own or none; "
            "drop grads, or that rule"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, meta="norm", grads="copy")

    def test_only_two_words_are_known(self, model: Tied) -> None:
        with pytest.raises(ramet.PlanError, match=error('clone: grads=\'yes\' is neither "drop" nor "copy"')):
            ramet.clone(model, grads="yes")  # type: ignore[arg-type]


class TestDtype:
    def test_floating_tensors_become_of_it_and_others_do_not(self, model: Tied) -> None:
        clone = ramet.clone(model, dtype=torch.float64)
        assert {p.dtype for p in clone.parameters()} == {torch.float64}
        assert clone.steps.dtype == torch.long
        assert torch.equal(clone.norm.weight, model.norm.weight.double())
        assert clone.head.weight is clone.embed.weight
        assert isinstance(clone.head.weight, nn.Parameter)
        assert torch.equal(clone(torch.tensor([1])), copy.deepcopy(model).double()(torch.tensor([1])))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
    def test_views_stay_views(self, dtype: torch.dtype) -> None:
        holder = nn.Module()
        base = torch.arange(100000.0)
        for name, view in {"a": base[7:20], "b": base[10:30:2], "c": base[90000:90010].view(2, 5).t()}.items():
            holder.register_buffer(name, view)
        clone = ramet.clone(holder, dtype=dtype)
        for name in "abc":
            assert torch.equal(getattr(clone, name), getattr(holder, name).to(dtype))
            assert getattr(clone, name).stride() == getattr(holder, name).stride()
        clone.a.zero_()
        assert clone.b[:5].tolist() == [0] * 5
        assert clone.b[5] == 20

    def test_bytes_are_planned_in_the_new_dtype(self, model: Tied) -> None:
        floats = sum(p.numel() for p in model.parameters())
        assert ramet.plan(model, dtype=torch.float16).nbytes == 2 * floats + 24

    def test_a_tensor_in_plain_state_changes_only_if_tied(self) -> None:
        holder = nn.Linear(2, 2)
        holder.same = [holder.weight.detach()]
        holder.other = torch.ones(2)
        clone = ramet.clone(holder, dtype=torch.float64)
        assert clone.same[0].dtype == torch.float64
        assert clone.same[0].data_ptr() == clone.weight.data_ptr()
        assert clone.other.dtype == torch.float32

    @pytest.mark.parametrize(("rule", "word"), [("share", "shared"), ("alias", "aliased"), ("keep", "kept")])
    def test_what_stays_the_sources_cannot_change(self, model: Tied, rule: str, word: str) -> None:
        message = (
            f"clone: slot 'norm.weight' (cpu, Float): dtype=Double cannot apply to it: it would have to "
            "change, and it is "
            f"{word}: move the source before, or copy it"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, dtype=torch.float64, **{rule: "norm"})
        assert ramet.clone(model, dtype=torch.float32, share=True).norm.weight is model.norm.weight

    def test_complex_to_real_is_an_error(self) -> None:
        holder = nn.Module()
        holder.weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))
        with pytest.raises(ramet.PlanError, match=r"it is complex, and would lose its imaginary part"):
            ramet.clone(holder, dtype=torch.float32)
        assert ramet.clone(holder, dtype=torch.complex128).weight.dtype == torch.complex128

    def test_one_of_two_dtypes_over_the_same_bytes_is_an_error(self) -> None:
        holder = nn.Module()
        bits = torch.arange(4, dtype=torch.int32)
        holder.register_buffer("bits", bits)
        holder.register_buffer("floats", bits.view(torch.float32))
        message = (
            "it has bytes in common with 'bits', which is of another dtype (Float and Int): cast neither, or untie"
        )
        with pytest.raises(ramet.PlanError, match=re.escape(message)):
            ramet.clone(holder, dtype=torch.float64)
        assert ramet.clone(holder, dtype=torch.float64, untie="floats").floats.dtype == torch.float64

    @pytest.mark.parametrize("dtype", [torch.int32, "float32", torch.bool])
    def test_only_floating_and_complex_ones_are_taken(self, model: Tied, dtype: torch.dtype) -> None:
        with pytest.raises(ramet.PlanError, match=r"is no floating or complex torch\.dtype"):
            ramet.clone(model, dtype=dtype)

    def test_a_sparse_buffer_is_cast(self) -> None:
        holder = nn.Module()
        holder.register_buffer("table", torch.eye(3).to_sparse())
        assert ramet.clone(holder, dtype=torch.float64).table.dtype == torch.float64


class TestDevice:
    def test_the_same_device_changes_nothing(self, model: Tied) -> None:
        clone = ramet.clone(model, device="cpu", share="norm")
        assert clone.norm.weight is model.norm.weight

    def test_to_another_device_with_ties(self, model: Tied) -> None:
        clone = ramet.clone(model, device=torch.device("meta"))
        assert clone.head.weight.is_meta
        assert clone.head.weight is clone.embed.weight
        assert isinstance(clone.head.weight, nn.Parameter)

    def test_what_is_shared_cannot_move(self, model: Tied) -> None:
        message = (
            "clone: slot 'norm.weight' (cpu, Float): device=meta cannot apply to it: it would have to "
            "change, and it is "
            "shared: move the source before, or copy it"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, device="meta", share="norm")

    def test_a_tensor_that_clones_itself_cannot(self) -> None:
        lazy = nn.LazyLinear(3)
        with pytest.raises(ramet.PlanError, match=r"clone first, then move the clone by \.to\(\)"):
            ramet.clone(lazy, device="meta")

    def test_one_that_is_not_there_is_torchs_own_error(self, model: Tied) -> None:
        with pytest.raises(RuntimeError, match=r"bogus"):
            ramet.clone(model, device="bogus")

    def test_a_quantized_one_has_no_place_on_meta(self) -> None:
        holder = nn.Module()
        holder.register_buffer("table", torch.eye(3).to_sparse())
        with pytest.raises(ramet.PlanError, match=r"it is sparse or quantized"):
            ramet.clone(holder, device="meta")

    @pytest.mark.cuda
    def test_to_an_accelerator_and_back(self, model: Tied) -> None:
        clone = ramet.clone(model, device="cuda", dtype=torch.float16)
        assert clone.head.weight.is_cuda
        assert clone.head.weight is clone.embed.weight
        back = ramet.clone(clone, device="cpu", dtype=torch.float32)
        assert torch.equal(back.norm.weight, model.norm.weight.half().float())


@pytest.mark.parametrize("name", ["log.losses", "log", "width", "pair"])
@pytest.mark.parametrize("held_elsewhere", [False, True])
def test_a_mode_that_names_plain_state_says_keep(model: Tied, name: str, held_elsewhere: bool) -> None:
    model.log, model.width, model.pair = {"losses": []}, 3, (1, 2)
    other = model.log["losses"] if held_elsewhere else None
    with pytest.raises(ramet.PlanError, match=rf"^clone: '{name}' names plain state, .* use keep='{name}'"):
        ramet.clone(model, share=name)
    assert other in (None, [])


def test_a_type_all_of_whose_tensors_are_kept_is_an_error(model: Tied) -> None:
    message = "clone: share=nn.LayerNorm names what keep='norm' already keeps whole; drop it, or keep less"
    with pytest.raises(ramet.PlanError, match=error(message)):
        ramet.clone(model, keep="norm", share=nn.LayerNorm)
