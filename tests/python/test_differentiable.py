"""differentiable: values that autograd links to the source's, gradients of any order, ties, and what is refused."""

import copy
import gc
import re
import threading
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch.func import functional_call

import ramet


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 6)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.embed(tokens)).tanh())


TOKENS = torch.tensor([1, 2, 5])


@pytest.fixture
def model() -> Tied:
    torch.manual_seed(0)
    return Tied()


def error(message: str) -> str:
    return "^" + re.escape(message) + "$"


def refused(message: str):
    return pytest.raises(ramet.PlanError, match=error(message))


def grads_of(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in model.parameters()]


class TestValues:
    def test_are_copies_that_autograd_knows_where_from(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        assert ramet.relation(model, fast).equal == set(dict(model.named_parameters(remove_duplicate=False))) | set(
            dict(model.named_buffers())
        )
        weights = list(fast.parameters())
        assert {type(p) for p in weights} == {torch.Tensor}
        assert all(p.requires_grad and not p.is_leaf for p in weights)
        assert {p.grad_fn.name() for p in weights} == {"RametCloneBackward"}
        assert len({p.grad_fn for p in weights}) == 1, "one node for all"
        with torch.no_grad():
            fast.norm.bias.fill_(3)
            model.norm.weight.fill_(4)
        assert model.norm.bias.tolist() == [0] * 4
        assert fast.norm.weight.tolist() == [1] * 4

    def test_ties_stay(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable="head")
        assert fast.head.weight is fast.embed.weight
        assert not fast.embed.weight.is_leaf
        assert fast.norm.weight.is_leaf
        assert isinstance(fast.norm.weight, nn.Parameter)
        assert ramet.catalog(fast)["head.weight"].names == ramet.catalog(model)["head.weight"].names

    def test_names_slots_and_flat_weights_are_the_sources(self) -> None:
        rnn = nn.LSTM(3, 4, 2, bidirectional=True)
        fast = ramet.clone(rnn, differentiable=True)
        assert [n for n, _ in fast.named_parameters()] == [n for n, _ in rnn.named_parameters()]
        assert all(a is b for a, b in zip(fast._flat_weights, fast.parameters(), strict=True))
        assert fast._flat_weight_refs[0]() is fast.weight_ih_l0

    def test_what_does_not_require_grad_is_copied(self, model: Tied) -> None:
        model.norm.weight.requires_grad_(False)
        model.register_buffer("counts", torch.arange(3))
        fast = ramet.clone(model, differentiable=True)
        assert isinstance(fast.norm.weight, nn.Parameter)
        for name in ("norm.weight", "norm.running_mean", "counts"):
            mine, its = fast.get_parameter if name == "norm.weight" else fast.get_buffer, model.state_dict()[name]
            mine = mine(name)
            assert mine.is_leaf
            assert not mine.requires_grad
            assert torch.equal(mine, its)
            assert mine.data_ptr() != its.data_ptr()

    def test_strides_attributes_and_dtype_are_the_sources(self) -> None:
        conv = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last).double()
        conv.weight.tag = {"group": 1}
        fast = ramet.clone(conv, differentiable=True)
        assert fast.weight.stride() == conv.weight.stride()
        assert fast.weight.dtype == torch.double
        assert fast.weight.tag == {"group": 1}
        assert fast.weight.tag is not conv.weight.tag

    def test_a_subclass_of_parameter_stays_one(self) -> None:
        class Named(nn.Parameter):
            pass

        layer = nn.Linear(2, 2)
        layer.weight = Named(torch.ones(2, 2))
        fast = ramet.clone(layer, differentiable=True)
        assert type(fast.weight) is Named
        assert not fast.weight.is_leaf


class TestGradients:
    def test_flow_to_the_source_and_those_of_a_tied_tensor_are_added_once(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        fast(TOKENS).square().sum().backward()
        got = grads_of(model)
        model.zero_grad()
        twin = ramet.clone(model)
        model(TOKENS).square().sum().backward()
        assert all(torch.equal(a, b) for a, b in zip(got, grads_of(model), strict=True))
        assert all(g is None for g in grads_of(twin))

    def test_of_a_part_leave_the_others_alone(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        fast.norm.bias.sum().backward()
        assert model.norm.bias.grad.tolist() == [1] * 4
        assert model.norm.weight.grad is None
        assert model.embed.weight.grad is None

    def test_of_a_clone_stop_there_if_asked(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        grads = torch.autograd.grad(fast(TOKENS).sum(), list(fast.parameters()))
        assert [g.shape for g in grads] == [p.shape for p in fast.parameters()]
        assert all(g is None for g in grads_of(model))

    def test_a_graph_can_be_gone_through_twice(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        loss = fast.norm.weight.sum()
        loss.backward(retain_graph=True)
        loss.backward()
        (fast.norm.weight * 2).sum().backward()
        assert model.norm.weight.grad.tolist() == [4] * 4

    def test_of_n_clones_add_up(self, model: Tied) -> None:
        clones = ramet.clones(model, 3, differentiable=True)
        assert len({c.norm.bias.grad_fn for c in clones}) == 3
        sum(c.norm.bias.sum() * i for i, c in enumerate(clones, 1)).backward()
        assert model.norm.bias.grad.tolist() == [6] * 4

    def test_of_an_untied_slot_go_to_the_tensor_that_it_was(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True, untie="head.weight")
        assert fast.head.weight is not fast.embed.weight
        (fast.head.weight.sum() + 10 * fast.embed.weight.sum()).backward()
        assert model.embed.weight.grad.unique().tolist() == [11]

    def test_come_back_in_the_dtype_of_the_source(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True, dtype=torch.float64)
        assert fast.norm.weight.dtype == torch.float64
        fast(TOKENS).square().sum().backward()
        assert model.norm.weight.grad.dtype == torch.float32
        twin = ramet.clone(model, dtype=torch.float64)
        twin(TOKENS).square().sum().backward()
        torch.testing.assert_close(model.norm.weight.grad, twin.norm.weight.grad.float())

    def test_come_back_real(self) -> None:
        layer = nn.Linear(2, 1, bias=False)
        fast = ramet.clone(layer, differentiable=True, dtype=torch.complex64)
        (fast.weight * (2 + 3j)).sum().real.backward()
        assert layer.weight.grad.tolist() == [[2, 2]]

    def test_may_be_sparse(self) -> None:
        table = nn.Embedding(5, 2, sparse=True)
        ramet.clone(table, differentiable=True)(torch.tensor([1, 3])).sum().backward()
        assert table.weight.grad.is_sparse
        assert table.weight.grad.to_dense().sum(1).tolist() == [0, 2, 0, 2, 0]

    def test_with_hooks_of_the_source(self, model: Tied) -> None:
        seen: list[torch.Tensor] = []
        model.norm.bias.register_hook(lambda g: seen.append(g) or g * 2)
        model.norm.bias.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
        ramet.clone(model, differentiable=True).norm.bias.sum().backward()
        assert [t.tolist() for t in seen] == [[1] * 4, [2] * 4]

    def test_under_anomaly_detection(self, model: Tied) -> None:
        with warnings.catch_warnings(), torch.autograd.detect_anomaly():
            warnings.simplefilter("ignore")
            ramet.clone(model, differentiable=True)(TOKENS).sum().backward()
        assert model.head.bias.grad is not None

    def test_from_another_thread(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        thread = threading.Thread(target=lambda: fast(TOKENS).sum().backward())
        thread.start()
        thread.join()
        assert model.head.bias.grad.tolist() == [3] * 6


class TestHigherOrders:
    def test_the_second_order_agrees_with_differences(self) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
        x = torch.rand(4, 2, dtype=torch.double)
        names = [n for n, _ in net.named_parameters()]

        def through_a_clone(*weights: torch.Tensor) -> torch.Tensor:
            it = ramet.clone(net)
            ramet.assign(it, dict(zip(names, weights, strict=True)))
            return ramet.clone(it, differentiable=True)(x).square()

        weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
        assert torch.autograd.gradcheck(through_a_clone, weights)
        assert torch.autograd.gradgradcheck(through_a_clone, weights)

    def test_the_second_order_passes_casts(self) -> None:
        layer = nn.Linear(2, 2, bias=False)
        fast = ramet.clone(layer, differentiable=True, dtype=torch.float64)
        (grad,) = torch.autograd.grad(fast.weight.pow(3).sum(), layer.weight, create_graph=True)
        assert grad.dtype == torch.float32
        grad.sum().backward()
        torch.testing.assert_close(layer.weight.grad, 6 * layer.weight.detach())

    def test_steps_by_assign_agree_with_functional_call(self, model: Tied) -> None:
        def inner(loss: torch.Tensor, weights: list[torch.Tensor]) -> list[torch.Tensor]:
            grads = torch.autograd.grad(loss, weights, create_graph=True)
            return [w - 0.3 * g for w, g in zip(weights, grads, strict=True)]

        model.eval()
        fast = ramet.clone(model, differentiable=nn.Parameter)
        for _ in range(3):
            ramet.assign(fast, inner(fast(TOKENS).square().mean(), list(fast.parameters())))
            assert fast.head.weight is fast.embed.weight
        fast(TOKENS).cos().sum().backward()
        got = grads_of(model)

        model.zero_grad()
        names = [n for n, _ in model.named_parameters()]
        weights = list(model.parameters())
        for _ in range(3):
            out = functional_call(model, dict(zip(names, weights, strict=True)), TOKENS)
            weights = inner(out.square().mean(), weights)
        functional_call(model, dict(zip(names, weights, strict=True)), TOKENS).cos().sum().backward()
        for mine, its in zip(got, grads_of(model), strict=True):
            torch.testing.assert_close(mine, its)

    def test_a_clone_of_a_clone_is_a_step_further(self, model: Tied) -> None:
        first = ramet.clone(model, differentiable=True)
        second = ramet.clone(first, differentiable=True)
        assert second.norm.bias.grad_fn.next_functions[0][0] is first.norm.bias.grad_fn
        second.norm.bias.sum().backward()
        assert model.norm.bias.grad.tolist() == [1] * 4

    def test_a_source_whose_slots_autograd_computed(self, model: Tied) -> None:
        scale = torch.tensor(2.0, requires_grad=True)
        ramet.assign(model, {"norm.bias": scale * torch.ones(4)})
        ramet.clone(model, differentiable=True).norm.bias.sum().backward()
        assert scale.grad.item() == 4


class TestModules:
    """Modules that hold their parameters in ways of their own."""

    @staticmethod
    def agrees(model: nn.Module, *inputs: torch.Tensor) -> None:
        def loss(it: nn.Module) -> torch.Tensor:
            torch.manual_seed(1)
            out = it(*inputs)
            return (out[0] if isinstance(out, tuple) else out).square().sum()

        fast = ramet.clone(model, differentiable=True)
        first = loss(fast)
        first.backward()
        got = grads_of(model)
        model.zero_grad()
        second = loss(ramet.clone(model, share=nn.Parameter))
        second.backward()
        torch.testing.assert_close(first, second)
        for mine, its in zip(got, grads_of(model), strict=True):
            torch.testing.assert_close(mine, its)

    def test_recurrent(self) -> None:
        for kind in (nn.RNN, nn.GRU, nn.LSTM):
            self.agrees(kind(3, 4, 2, bidirectional=True), torch.rand(5, 2, 3))
        self.agrees(nn.LSTM(3, 4, proj_size=2), torch.rand(5, 2, 3))
        self.agrees(nn.GRUCell(3, 4), torch.rand(2, 3))

    def test_attention(self) -> None:
        x = torch.rand(5, 2, 8)
        self.agrees(nn.MultiheadAttention(8, 2), x, x, x)
        self.agrees(nn.MultiheadAttention(8, 2, add_bias_kv=True, kdim=6, vdim=4), x, x[..., :6], x[..., :4])
        self.agrees(nn.Transformer(8, 2, 1, 1, 16, dropout=0).eval(), x, x)

    def test_parametrized(self) -> None:
        from torch.nn.utils import parametrizations, weight_norm

        x = torch.rand(4, 3)
        self.agrees(parametrizations.weight_norm(nn.Linear(3, 2)), x)
        self.agrees(parametrizations.spectral_norm(nn.Linear(3, 2)), x)
        self.agrees(parametrizations.orthogonal(nn.Linear(3, 3)), x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.agrees(weight_norm(nn.Linear(3, 2)), x)
            self.agrees(nn.utils.spectral_norm(nn.Linear(3, 2)), x)

    def test_lists_and_dicts_of_parameters(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.listed = nn.ParameterList([torch.rand(2), torch.rand(2)])
                self.named = nn.ParameterDict({"a": torch.rand(2)})

            def forward(self) -> torch.Tensor:
                return self.listed[0] * self.listed[1] + self.named["a"]

        fast = ramet.clone(Net(), differentiable=True)
        assert [p.is_leaf for p in fast.listed] == [False, False]
        self.agrees(Net())

    def test_scripted(self) -> None:
        self.agrees(torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.Tanh())), torch.rand(4, 3))

    def test_normalized_in_training(self) -> None:
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(2))
        x = torch.rand(4, 2, 5, 5)
        net(x)
        before = net[1].running_mean.clone()
        fast = ramet.clone(net, differentiable=True)
        fast(x).sum().backward()
        assert torch.equal(net[1].running_mean, before)
        assert not torch.equal(fast[1].running_mean, before)


class TestMixed:
    def test_with_share_alias_copy_and_freeze(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable="head.bias", share="norm.weight", alias="norm.bias", freeze="embed")
        assert fast.norm.weight is model.norm.weight
        assert fast.norm.bias.data_ptr() == model.norm.bias.data_ptr()
        assert not fast.embed.weight.requires_grad
        model.eval(), fast.eval()
        fast(TOKENS).sum().backward()
        assert model.head.bias.grad.tolist() == [3] * 6
        assert model.norm.weight.grad is not None
        assert model.norm.bias.grad is None
        assert fast.norm.bias.grad is not None
        assert model.embed.weight.grad is None

    def test_the_plan_says_so(self, model: Tied) -> None:
        decision = ramet.plan(model, differentiable="norm")["norm.weight"]
        assert decision == ("differentiable", "differentiable='norm'", 16)

    def test_in_a_session(self) -> None:
        actor, critic = nn.Linear(2, 2), nn.Linear(2, 2)
        critic.weight = actor.weight
        fast, other = ramet.clone((actor, critic), differentiable="0")
        assert fast.weight is other.weight
        assert not fast.weight.is_leaf
        assert other.bias.is_leaf

    def test_gradients_are_not_copied(self, model: Tied) -> None:
        model(TOKENS).sum().backward()
        fast = ramet.clone(model, differentiable="norm", grads="copy")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert fast.norm.weight.grad is None
        assert torch.equal(fast.head.bias.grad, model.head.bias.grad)


class TestAfterwards:
    def test_a_copy_of_a_clone_has_parameters_again(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        ramet.assign(fast, [p * 2 for p in fast.parameters()])
        twin = ramet.clone(fast)
        assert all(type(p) is nn.Parameter and p.is_leaf and p.requires_grad for p in twin.parameters())
        assert twin.head.weight is twin.embed.weight
        assert torch.equal(twin.norm.weight, torch.full((4,), 2.0))
        torch.optim.SGD(twin.parameters(), lr=0.1)
        twin(TOKENS).sum().backward()
        assert all(g is None for g in grads_of(model))
        frozen = ramet.clone(fast, freeze=True)
        assert {type(p) for p in frozen.parameters()} == {nn.Parameter}
        assert not any(p.requires_grad for p in frozen.parameters())
        assert all(p.is_meta and p.requires_grad for p in ramet.clone(fast, meta=True).parameters())

    def test_what_torch_does_with_tensors_that_are_no_leaves(self, model: Tied) -> None:
        fast = ramet.clone(model, differentiable=True)
        with pytest.raises(RuntimeError, match="Only Tensors created explicitly"):
            copy.deepcopy(fast)
        with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
            torch.optim.SGD(fast.parameters(), lr=0.1)
        state = fast.state_dict()
        assert list(state) == list(model.state_dict())
        twin = ramet.clone(model)
        twin.load_state_dict(state)
        assert torch.equal(twin.head.weight, fast.head.weight)

    def test_nothing_is_left_when_it_is_dropped(self, model: Tied) -> None:
        def one() -> list[weakref.ref[torch.Tensor]]:
            fast = ramet.clone(model, differentiable=True)
            ramet.assign(
                fast,
                [
                    p - 0.1 * g
                    for p, g in zip(
                        fast.parameters(),
                        torch.autograd.grad(fast(TOKENS).square().sum(), list(fast.parameters()), create_graph=True),
                        strict=True,
                    )
                ],
            )
            fast(TOKENS).sum().backward()
            return [weakref.ref(p) for p in fast.parameters()] + [weakref.ref(p) for p in fast.buffers()]

        one()
        before = ramet.memory.stats()
        dead = one()
        gc.collect()
        assert not any(ref() is not None for ref in dead)
        assert ramet.memory.stats().in_use == before.in_use

    def test_a_clone_that_is_held_holds_its_source_s_tensors(self) -> None:
        layer = nn.Linear(2, 2)
        weight, bias = weakref.ref(layer.weight), weakref.ref(layer.bias)
        fast = ramet.clone(layer, differentiable=True)
        del layer
        gc.collect()
        assert weight() is not None
        fast.weight.sum().backward()
        assert weight().grad.tolist() == [[1, 1], [1, 1]]
        del fast
        gc.collect()
        assert weight() is None
        assert bias() is None

    def test_freed_in_many_threads(self, model: Tied) -> None:
        def many() -> None:
            for _ in range(50):
                ramet.clone(model, differentiable=True)(TOKENS).sum().backward()

        threads = [threading.Thread(target=many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert model.head.bias.grad.tolist() == [600] * 6


class TestErrors:
    def test_gradients_are_disabled(self, model: Tied) -> None:
        message = (
            "clone: differentiable=True is of no use here, where gradients are disabled (no_grad or inference mode): "
            "nothing would flow back to the source; clone outside of it, or use copy"
        )
        for mode in (torch.no_grad(), torch.inference_mode()):
            with mode, refused(message):
                ramet.clone(model, differentiable=True)
            with mode, refused(message):
                ramet.plan(model, differentiable=True)

    def test_two_tensors_over_common_bytes(self) -> None:
        holder = nn.Module()
        base = torch.rand(6)
        holder.a, holder.b = nn.Parameter(base[:4]), nn.Parameter(base[2:])
        holder.table = nn.Parameter(torch.rand(2))
        with refused(
            "clone: slots 'a' and 'b' hold two tensors with bytes in common, and differentiable=True cannot keep that: "
            "what is written through one would not be in the other's history; untie them, or name them in copy or share"
        ):
            ramet.clone(holder, differentiable=True)
        fast = ramet.clone(holder, differentiable=True, untie="b")
        assert fast.a.untyped_storage().data_ptr() != fast.b.untyped_storage().data_ptr()
        assert not ramet.clone(holder, differentiable="table", copy=["a", "b"]).table.is_leaf

    def test_slices_of_one_storage_that_do_not_meet_are_fine(self) -> None:
        holder = nn.Module()
        base = torch.rand(6)
        holder.a, holder.b = nn.Parameter(base[:3]), nn.Parameter(base[3:])
        fast = ramet.clone(holder, differentiable=True)
        (fast.a.sum() + 2 * fast.b.sum()).backward()
        assert holder.a.grad.tolist() == [1] * 3
        assert holder.b.grad.tolist() == [2] * 3

    def test_frozen(self, model: Tied) -> None:
        for freeze, text in ((True, "True"), ("norm.weight", "'norm.weight'")):
            slot = "embed.weight" if freeze is True else "norm.weight"
            with refused(
                f"clone: slot '{slot}': differentiable=True cannot apply to it: freeze={text} names it too, and it "
                "requires grad by what it is computed from; name less in freeze, or copy it"
            ):
                ramet.clone(model, differentiable=True, freeze=freeze)
        ramet.clone(model, differentiable=True, freeze=nn.Buffer)

    def test_trained_by_an_optimizer_of_the_session(self, model: Tied) -> None:
        optimizer = torch.optim.Adam(model.parameters())
        for session, path in (((model, optimizer), "0.embed.weight"), ((optimizer, model), "1.embed.weight")):
            with pytest.raises(ramet.PlanError) as caught:
                ramet.clone(session, differentiable=True)
            assert str(caught.value) == (
                f"clone: slot '{path}': differentiable=True cannot apply to it: an optimizer of the session trains it, "
                "and cannot train what is computed; leave the optimizer out, and step by assign"
            )
        bias = torch.optim.SGD([model.head.bias], lr=0.1)
        fast, mine = ramet.clone((model, bias), differentiable="0.norm")
        assert mine.param_groups[0]["params"][0] is fast.head.bias

    def test_no_values(self, model: Tied) -> None:
        with refused(
            "clone: slot 'embed.weight': differentiable=True cannot apply to it: no gradient comes back from "
            "device=meta, where nothing has values; drop one of the two"
        ):
            ramet.clone(model, differentiable=True, device="meta")
        skeleton = ramet.clone(ramet.clone(model, meta=True), differentiable=True)
        assert skeleton.norm.weight.is_meta
        assert not skeleton.norm.weight.is_leaf

    def test_sparse_and_self_cloning(self) -> None:
        holder = nn.Module()
        holder.table = nn.Parameter(torch.eye(3).to_sparse())
        with refused(
            "clone: slot 'table': differentiable=True cannot apply to it: it is sparse or quantized; name it in copy "
            "or share, by its exact path"
        ):
            ramet.clone(holder, differentiable=True)
        holder.table.requires_grad_(False)
        assert ramet.clone(holder, differentiable=True).table.is_sparse
        lazy = nn.Sequential(nn.LazyLinear(2))
        with pytest.raises(ramet.PlanError, match="it is of a tensor subclass that clones itself"):
            ramet.clone(lazy, differentiable=True)

    def test_of_inference_mode(self) -> None:
        with torch.inference_mode():
            layer = nn.Linear(2, 2)
        with refused(
            "clone: slot 'weight': differentiable=True cannot apply to it: it is a tensor of inference mode, which "
            "autograd does not follow; make the source outside of it"
        ):
            ramet.clone(layer, differentiable=True)

    def test_an_error_leaves_nothing(self, model: Tied) -> None:
        before = ramet.memory.stats()
        with pytest.raises(ramet.PlanError):
            ramet.clone(model, differentiable=True, freeze=True)
        assert ramet.memory.stats() == before


def test_slices_of_a_flat_buffer_have_nothing_in_common() -> None:
    source, flat = nn.Module(), torch.arange(8.0)
    source.a, source.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    source.a.weight = nn.Parameter(flat[:4].view(2, 2))
    source.b.weight = nn.Parameter(flat[4:].view(2, 2))
    source.register_buffer("flat", flat)
    clone = ramet.clone(source, differentiable=True)
    assert torch.equal(clone.a.weight, source.a.weight) and torch.equal(clone.flat, flat)
    (clone.a.weight.sum() + 2 * clone.b.weight.sum()).backward()
    assert torch.equal(source.a.weight.grad, torch.ones(2, 2))
    assert torch.equal(source.b.weight.grad, torch.full((2, 2), 2.0))


def test_a_forward_mode_tangent_is_not_lost_in_silence() -> None:
    source = nn.Linear(2, 1, bias=False)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(source.weight.detach(), torch.ones(1, 2))
        source._parameters["weight"] = dual
        with pytest.raises(ramet.PlanError, match=r"slot 'weight'.* carries a forward-mode tangent"):
            ramet.clone(source, differentiable=True)
