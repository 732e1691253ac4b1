"""init: fresh values as if the modules were built anew, on a scratch clone, with ties, and what is refused."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import ramet


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.embed(tokens)))


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.embed.weight


class Bare(nn.Module):
    """Owns a parameter, and has no initialiser."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.inner = nn.Linear(3, 3)


def refused(message: str):
    return pytest.raises(ramet.PlanError, match="^" + re.escape(message) + "$")


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def seeded(seed: int, make):
    torch.manual_seed(seed)
    return make()


def as_if_built(make, **options) -> None:
    """Expects that init gives what the constructor gives, and leaves the generator as that does."""
    source = seeded(1, make)
    before = state(source)
    built = seeded(2, make)
    after = torch.get_rng_state()
    torch.manual_seed(2)
    clone = ramet.clone(source, init=True, **options)
    assert torch.equal(torch.get_rng_state(), after)
    assert same(state(clone), state(built))
    assert same(state(source), before)


class TestValues:
    def test_are_those_of_modules_built_anew(self) -> None:
        as_if_built(Net)
        as_if_built(lambda: nn.LSTM(3, 4, 2, bidirectional=True))
        as_if_built(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.PReLU(), nn.Bilinear(2, 2, 1)))
        as_if_built(lambda: nn.ModuleDict({"a": nn.GRUCell(2, 3), "b": nn.EmbeddingBag(4, 2)}))

    def test_of_attention_whose_initialiser_writes_its_child(self) -> None:
        as_if_built(lambda: nn.MultiheadAttention(8, 2))
        source = nn.MultiheadAttention(8, 2)
        nn.init.ones_(source.out_proj.bias)
        clone = ramet.clone(source, init=["in_proj_weight", "in_proj_bias"])
        assert not torch.equal(clone.in_proj_weight, source.in_proj_weight)
        assert torch.equal(clone.out_proj.bias, torch.ones(8))
        assert torch.equal(clone.out_proj.weight, source.out_proj.weight)

    def test_of_a_transformer_are_drawn_by_its_own_initialiser(self) -> None:
        source = nn.Transformer(8, 2, 1, 1, 16)
        clone = ramet.clone(source, init=True)
        weight = clone.encoder.layers[0].linear1.weight
        limit = (6 / (8 + 16)) ** 0.5
        assert weight.abs().max() <= limit
        assert weight.abs().max() > 8**-0.5, "as Linear has it, xavier goes further"
        part = ramet.clone(source, init="encoder.layers.0.linear1")
        assert part.encoder.layers[0].linear1.weight.abs().max() <= 8**-0.5

    def test_buffers_are_reset_too(self) -> None:
        source = Net()
        source(torch.tensor([1, 2, 3]))
        clone = ramet.clone(source, init="norm")
        assert clone.norm.running_mean.tolist() == [0] * 4
        assert clone.norm.num_batches_tracked.item() == 0
        assert source.norm.num_batches_tracked.item() == 1
        kept = ramet.clone(source, init=nn.Parameter)
        assert torch.equal(kept.norm.running_mean, source.norm.running_mean)

    def test_only_what_is_named_is_fresh(self) -> None:
        source = Net()
        clone = ramet.clone(source, init="head.weight", share="norm")
        assert ramet.relation(source, clone).different == {"head.weight"}
        assert clone.norm.weight is source.norm.weight

    def test_each_side_is_its_own(self) -> None:
        source = Net()
        clone = ramet.clone(source, init="head")
        assert isinstance(clone.head.weight, nn.Parameter)
        assert clone.head.weight.requires_grad
        before = source.head.weight.clone()
        with torch.no_grad():
            clone.head.weight.fill_(7)
        assert torch.equal(source.head.weight, before)

    def test_flags_strides_and_attributes_are_the_sources(self) -> None:
        conv = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        conv.bias.requires_grad_(False)
        conv.weight.tag = "kernel"
        clone = ramet.clone(conv, init=True, freeze="weight")
        assert clone.weight.stride() == conv.weight.stride()
        assert clone.weight.tag == "kernel"
        assert not clone.weight.requires_grad
        assert not clone.bias.requires_grad

    def test_what_an_initialiser_leaves_alone_is_as_in_the_source(self) -> None:
        def only_bias(module: nn.Module) -> None:
            nn.init.constant_(module.bias, 3)

        source = nn.Linear(2, 2)
        clone = ramet.clone(source, init=True, initializer=only_bias)
        assert torch.equal(clone.weight, source.weight)
        assert clone.bias.tolist() == [3, 3]

    def test_n_clones_are_drawn_one_after_the_other(self) -> None:
        source = Net()
        many = seeded(3, lambda: ramet.clones(source, 3, init=True))
        torch.manual_seed(3)
        one_by_one = [ramet.clone(source, init=True) for _ in range(3)]
        assert all(same(state(a), state(b)) for a, b in zip(many, one_by_one, strict=True))
        assert not torch.equal(many[0].head.weight, many[1].head.weight)

    def test_the_generator_is_left_alone_otherwise(self) -> None:
        source, before = Net(), torch.get_rng_state()
        ramet.plan(source, init=True)
        ramet.clone(source, init="head", initializer=lambda module: nn.init.zeros_(module.weight))
        assert torch.equal(torch.get_rng_state(), before)


class TestTies:
    def test_stay_and_every_owner_initialises(self) -> None:
        source = Tied()
        clone = seeded(4, lambda: ramet.clone(source, init=True))
        assert clone.head.weight is clone.embed.weight
        built = seeded(4, Net)
        assert torch.equal(clone.head.weight, built.head.weight), "the last one's values stay"
        assert torch.equal(clone.head.bias, built.head.bias)

    def test_a_module_with_two_names_is_initialised_once(self) -> None:
        layer = nn.Linear(3, 3)
        seen = []
        clone = ramet.clone(nn.Sequential(layer, layer), init=True, initializer=lambda module: seen.append(module))
        assert len(seen) == 1
        assert clone[0] is clone[1]

    def test_of_which_only_some_names_are_named_are_an_error(self) -> None:
        with refused(
            "clone: init='embed' names 'embed.weight', which is tied to 'head.weight': that would be initialised too; "
            "name it in init as well, or say untie='embed.weight' for a tensor of its own there"
        ):
            ramet.clone(Tied(), init="embed")
        source = Tied()
        apart = ramet.clone(source, init="embed", untie="embed.weight")
        assert not torch.equal(apart.embed.weight, source.embed.weight)
        assert torch.equal(apart.head.weight, source.head.weight)
        assert ramet.clone(source, init=["embed", "head"]).head.weight is not source.head.weight

    def test_views_count(self) -> None:
        holder = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
        holder["b"].weight = nn.Parameter(holder["a"].weight.detach().t())
        with pytest.raises(ramet.PlanError, match=r"init='a' names 'a\.weight', which is tied to 'b\.weight'"):
            ramet.clone(holder, init="a")
        clone = ramet.clone(holder, init=True)
        assert torch.equal(clone["a"].weight, clone["b"].weight.t())

    def test_flat_weights_follow(self) -> None:
        clone = ramet.clone(nn.GRU(2, 3), init=True)
        assert clone._flat_weights[0] is clone.weight_ih_l0

    def test_a_view_in_plain_state_goes_with_what_it_is_a_view_of(self) -> None:
        source = nn.Linear(2, 2)
        source.views = [source.weight.detach(), source.weight.detach()[1]]
        before = source.weight.detach().clone()
        clone = ramet.clone(source, init=True)
        assert clone.views[0].data_ptr() == clone.weight.data_ptr()
        assert torch.equal(clone.views[1], clone.weight[1])
        assert not torch.equal(clone.weight, before)
        with torch.no_grad():
            clone.weight.fill_(3)
        assert clone.views[1].tolist() == [3, 3]
        assert torch.equal(source.views[0], before)


class TestInitializer:
    def test_gets_each_owner_the_inner_ones_first(self) -> None:
        class Outer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(1))
                self.body = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.LayerNorm(1)))
                self.tail = nn.Linear(1, 1)

        names = []
        ramet.clone(Outer(), init=True, initializer=lambda module: names.append(type(module).__name__))
        assert names == ["Linear", "LayerNorm", "Linear", "Outer"]

    def test_serves_modules_that_have_none(self) -> None:
        source = Bare()
        clone = ramet.clone(source, init=True, initializer=lambda m: [nn.init.constant_(p, 5) for p in m.parameters()])
        assert {p.unique().item() for p in clone.parameters()} == {5}
        assert source.scale.tolist() == [1] * 3

    def test_cannot_write_the_source_or_what_is_not_named(self) -> None:
        class Peer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.own = nn.Linear(2, 2)
                self.kept = nn.RNN(2, 2)

        source = nn.ModuleDict({"shared": nn.Linear(2, 2), "peer": Peer()})
        source["peer"].up = [source]
        before = state(source)

        def sloppy(module: nn.Module) -> None:
            for it in module.modules():
                for tensor in [*it.parameters(False), *getattr(it, "_flat_weights", [])]:
                    tensor.data.fill_(9)
            for it in getattr(module, "up", []):
                for tensor in it.parameters():
                    tensor.data.fill_(9)

        source["peer"].extra = nn.Parameter(torch.ones(2))
        before = state(source)
        clone = ramet.clone(source, init="peer.extra", share="shared", keep="peer.kept", initializer=sloppy)
        assert clone["shared"].weight is source["shared"].weight
        assert clone["peer"].kept is source["peer"].kept
        assert clone["peer"].extra.tolist() == [9, 9]
        assert torch.equal(clone["peer"].own.weight, source["peer"].own.weight)
        assert same(state(source), before)

    def test_may_put_other_tensors_in_the_slots(self) -> None:
        def replacing(module: nn.Module) -> None:
            module.weight = nn.Parameter(torch.full_like(module.weight, 2))
            module.bias.data = torch.full((3,), 4.0)

        clone = ramet.clone(nn.Linear(2, 3), init=True, initializer=replacing)
        assert clone.weight.unique().tolist() == [2]
        assert clone.bias.tolist() == [4, 4, 4]

    def test_that_changes_a_shape_is_an_error(self) -> None:
        def widening(module: nn.Module) -> None:
            module.weight = nn.Parameter(torch.ones(5, 5))

        with refused(
            "clone: slot 'weight': its initialiser has made it [5, 5], and it is [3, 2]; what it initialises must keep "
            "its shape"
        ):
            ramet.clone(nn.Linear(2, 3), init=True, initializer=widening)

    def test_that_raises_touches_nothing_and_leaves_nothing(self) -> None:
        source = Net()
        before, held = state(source), ramet.memory.stats().in_use
        memo: dict[int, object] = {}

        def failing(module: nn.Module) -> None:
            nn.init.zeros_(module.weight)
            raise LookupError(type(module).__name__)

        with pytest.raises(LookupError, match="Embedding"):
            ramet.clone(source, init=True, initializer=failing, memo=memo)
        assert same(state(source), before)
        assert memo == {}
        assert ramet.memory.stats().in_use == held

    def test_a_memo_gets_the_clone_and_nothing_of_the_scratch(self) -> None:
        source = Net()
        memo: dict[int, object] = {}
        clone = ramet.clone(source, init=True, memo=memo)
        assert memo[id(source)] is clone
        assert memo[id(source.head.weight)] is clone.head.weight

    @pytest.mark.parametrize("loaded", [False, True])
    def test_of_transformers(self, loaded: bool, tmp_path: Path) -> None:
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
        source = transformers.BertForMaskedLM(config)
        if loaded:  # which marks what was loaded, and initialisers pass that by
            source.save_pretrained(tmp_path)
            source = transformers.BertForMaskedLM.from_pretrained(tmp_path)
            assert source.bert.embeddings.word_embeddings.weight._is_hf_initialized
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.fill_(5)
        clone = seeded(5, lambda: ramet.clone(source, init=nn.Parameter, initializer=source._init_weights))
        assert all(p.unique().tolist() == [5] for p in source.parameters())
        assert clone.cls.predictions.decoder.weight is clone.bert.embeddings.word_embeddings.weight
        layer = clone.bert.encoder.layer[0]
        assert 0.01 < layer.output.dense.weight.std() < 0.03
        assert torch.count_nonzero(layer.output.dense.bias) == 0
        assert torch.equal(layer.output.LayerNorm.weight, torch.ones(8))


class TestWhereAndWhat:
    def test_values_are_drawn_in_the_dtype_asked_for(self) -> None:
        source = nn.Linear(3, 3)
        clone = seeded(6, lambda: ramet.clone(source, init=True, dtype=torch.float64))
        built = seeded(6, lambda: nn.Linear(3, 3, dtype=torch.float64))
        assert torch.equal(clone.weight, built.weight)

    def test_a_skeleton_gets_values(self) -> None:
        source = ramet.clone(Net(), meta=True)
        built = seeded(7, Net)
        clone = seeded(7, lambda: ramet.clone(source, init=True, device="cpu"))
        assert same(state(clone), state(built))
        assert clone.head.weight.requires_grad
        with refused(
            "clone: slot 'embed.weight': init=True cannot apply to it: there are no values on the meta device; give "
            "the device that they shall be on"
        ):
            ramet.clone(source, init=True)
        with pytest.raises(ramet.PlanError, match="it has no values to bring along: give it some by init, or load"):
            ramet.clone(source, init="head", device="cpu")

    def test_meta_has_no_values(self) -> None:
        with pytest.raises(ramet.PlanError, match="there are no values on the meta device"):
            ramet.clone(Net(), init=True, device="meta")

    def test_within_a_bigger_model(self) -> None:
        whole = Tied()
        before = state(whole)
        head = ramet.clone(whole.head, within=whole, init="bias")
        assert head.weight is whole.embed.weight
        assert not torch.equal(head.bias, whole.head.bias)
        assert same(state(whole), before)

    def test_of_a_differentiable_clone_is_a_parameter_again(self) -> None:
        fast = ramet.clone(Net(), differentiable=True)
        fresh = ramet.clone(fast, init=True)
        assert all(isinstance(p, nn.Parameter) and p.is_leaf and p.requires_grad for p in fresh.parameters())

    def test_with_other_modes(self) -> None:
        source = Net()
        clone = ramet.clone(source, init="head", differentiable="embed", alias="norm.weight")
        assert not clone.embed.weight.is_leaf
        assert clone.head.weight.is_leaf
        assert not torch.equal(clone.head.weight, source.head.weight)
        assert clone.norm.weight.data_ptr() == source.norm.weight.data_ptr()

    def test_a_session_with_its_optimizer(self) -> None:
        source = Net()
        optimizer = torch.optim.Adam(source.parameters())
        clone, mine = ramet.clone((source, optimizer), init="0")
        assert mine.param_groups[0]["params"][0] is clone.embed.weight
        clone(torch.tensor([1, 2])).sum().backward()
        mine.step()

    def test_the_plan_says_so(self) -> None:
        plan = ramet.plan(Net(), init="head.bias")
        assert plan["head.bias"] == ("init", "init='head.bias'", 24)
        assert plan["head.weight"].mode == "copy"


class TestErrors:
    def test_a_module_without_an_initialiser(self) -> None:
        with refused(
            "clone: the source itself has neither reset_parameters nor _reset_parameters, and init=True names tensors "
            "of it; give initializer, or name them in copy or share"
        ):
            ramet.clone(Bare(), init=True)
        with refused(
            "clone: module 'deep.bare' has neither reset_parameters nor _reset_parameters, and init=True names tensors "
            "of it; give initializer, or name them in copy or share"
        ):
            ramet.clone(nn.ModuleDict({"deep": nn.ModuleDict({"bare": Bare()})}), init=True)
        clone = ramet.clone(Bare(), init="inner")
        assert clone.scale.tolist() == [1] * 3

    @pytest.mark.parametrize("keyword", [False, True])
    def test_one_that_needs_arguments_is_none(self, keyword: bool) -> None:
        class Scaled(nn.Linear):
            def reset_parameters(self, scale: float = 1.0) -> None:
                nn.init.constant_(self.weight, scale)

        class Asking(Scaled):
            def reset_parameters(self, scale: float) -> None:
                raise AssertionError

        class AskingByName(Scaled):
            def reset_parameters(self, *, scale: float) -> None:
                raise AssertionError

        source = Scaled(2, 2)
        assert ramet.clone(source, init="weight").weight.eq(1).all()
        source.__class__ = AskingByName if keyword else Asking
        with refused(
            "clone: the source itself has neither reset_parameters nor _reset_parameters, and init=True names tensors "
            "of it; give initializer, or name them in copy or share"
        ):
            ramet.clone(source, init=True)

    def test_initializer_without_init(self) -> None:
        for options in ({}, {"share": True}):
            with refused(
                "clone: initializer is given without init, which says what is to be initialised: give init too"
            ):
                ramet.clone(Net(), initializer=nn.init.zeros_, **options)

    def test_no_callable(self) -> None:
        with refused("clone: initializer is called with a module, and 'normal' cannot be"):
            ramet.clone(Net(), init=True, initializer="normal")  # type: ignore[arg-type]

    def test_a_tensor_that_no_module_holds(self) -> None:
        with refused("clone: slot '1': init='1' cannot apply to it: no module holds it that could initialise it"):
            ramet.clone((nn.Linear(2, 2), torch.ones(2)), init="1")

    def test_gradients_of_what_is_fresh(self) -> None:
        with pytest.raises(ramet.PlanError, match="grads cannot be copied to it, for init='head' gives it values of"):
            ramet.clone(Net(), init="head", grads="copy")

    def test_sparse_and_lazy(self) -> None:
        with pytest.raises(ramet.PlanError, match="it is of a tensor subclass that clones itself"):
            ramet.clone(nn.Sequential(nn.LazyLinear(2)), init=True)

    def test_are_raised_before_anything_is_called_or_allocated(self) -> None:
        before = ramet.memory.stats()
        called = []
        with pytest.raises(ramet.PlanError):
            ramet.clone(Tied(), init="embed", initializer=called.append)
        assert called == []
        assert ramet.memory.stats() == before
