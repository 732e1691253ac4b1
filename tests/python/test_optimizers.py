"""Optimizers in a session: they follow their parameters, with state of their own."""

import copy
import functools
import types

import pytest
import torch
from torch import nn

import ramet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 5, bias=False)
        self.second = nn.Linear(5, 3, bias=False)

    def forward(self, x):
        return self.second(self.first(x).tanh())


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 3, sparse=True)

    def forward(self, x):
        return self.embed((x[:, 0] > 0.5).long())


# Every class of torch.optim, and the arguments that make its state differ.
OPTIMIZERS = {
    "ASGD": [{"t0": 1, "lambd": 0.1}, {"foreach": True}],
    "Adadelta": [{"weight_decay": 0.1}, {"foreach": True}],
    "Adafactor": [{}],
    "Adagrad": [{"initial_accumulator_value": 0.1}, {"fused": True}],
    "Adam": [{"amsgrad": True}, {"foreach": True}, {"fused": True}, {"lr": torch.tensor(0.1)}],
    "AdamW": [{}, {"foreach": True, "maximize": True}, {"fused": True}],
    "Adamax": [{}, {"foreach": True}],
    "LBFGS": [{"max_iter": 3, "history_size": 2}, {"line_search_fn": "strong_wolfe"}],
    "Muon": [{}],
    "NAdam": [{"decoupled_weight_decay": True}, {"foreach": True}],
    "RAdam": [{}, {"foreach": True}],
    "RMSprop": [{"centered": True, "momentum": 0.9}, {"foreach": True}],
    "Rprop": [{}, {"foreach": True}],
    "SGD": [{"lr": 0.1, "momentum": 0.9, "nesterov": True}, {"lr": 0.1}, {"lr": 0.1, "momentum": 0.5, "fused": True}],
    "SparseAdam": [{}],
}
CASES = [(name, arguments) for name, variants in OPTIMIZERS.items() for arguments in variants]


def make(name, arguments):
    torch.manual_seed(1)
    model = Sparse() if name == "SparseAdam" else Net()
    return model, getattr(torch.optim, name)(model.parameters(), **copy.deepcopy(arguments))


def train(model, optimizer, seed):
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(seed))

    def closure():
        optimizer.zero_grad()
        loss = model(x).pow(2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def tensors_of(held):
    if isinstance(held, torch.Tensor):
        return [held]
    if isinstance(held, dict):
        return [t for value in held.values() for t in tensors_of(value)]
    return [t for value in held for t in tensors_of(value)] if isinstance(held, list | tuple) else []


def values(model, optimizer):
    state = [tensors_of(optimizer.state[p]) for p in model.parameters() if p in optimizer.state]
    rates = [group["lr"] for group in optimizer.param_groups]
    return [t.detach().clone() for t in [*model.parameters(), *tensors_of(state), *tensors_of(rates)]]


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def addresses(model, optimizer):
    state = [tensors_of(optimizer.state[p]) for p in optimizer.state]
    rates = [group["lr"] for group in optimizer.param_groups]
    found = [*model.parameters(), *tensors_of(state), *tensors_of(rates)]
    return {t.untyped_storage().data_ptr() for t in found if t.numel()}


def parameters_of(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def test_every_optimizer_of_torch_is_in_the_table():
    kinds = {name for name, it in vars(torch.optim).items() if isinstance(it, type)}
    assert kinds - {"Optimizer"} == OPTIMIZERS.keys()


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_a_step_of_the_clone_equals_one_of_the_source_and_leaves_it_untouched(name, arguments):
    model, optimizer = make(name, arguments)
    for seed in range(3):
        train(model, optimizer, seed)
    twin, follower = ramet.clone((model, optimizer))
    assert type(follower) is type(optimizer) and list(follower.__dict__) == list(optimizer.__dict__)
    assert [id(p) for p in parameters_of(follower)] == [id(p) for p in twin.parameters()]
    assert [id(p) for p in follower.state] == [id(p) for p in twin.parameters() if p in follower.state]
    assert len(follower.state) == len(optimizer.state)
    assert equal(values(model, optimizer), values(twin, follower))
    assert not addresses(model, optimizer) & addresses(twin, follower)
    before = values(model, optimizer)
    for seed in 3, 4:
        train(twin, follower, seed)
    assert equal(values(model, optimizer), before) and not equal(values(twin, follower), before)
    after = values(twin, follower)
    for seed in 3, 4:
        train(model, optimizer, seed)
    assert equal(values(model, optimizer), after) and equal(values(twin, follower), after)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
def test_state_is_the_clones_own_where_the_parameters_are_shared(name, arguments):
    model, optimizer = make(name, arguments)
    train(model, optimizer, 0)
    for rules in {"share": True}, {"share": "0"}, {"keep": "0"}, {"share": model}:
        twin, follower = ramet.clone((model, optimizer), **rules)
        assert [id(p) for p in parameters_of(follower)] == [id(p) for p in model.parameters()]
        assert [id(p) for p in follower.state] == [id(p) for p in optimizer.state]
        assert (twin is model) == ("keep" in rules)
        own = [tensors_of(follower.state[p]) for p in follower.state]
        theirs = [tensors_of(optimizer.state[p]) for p in optimizer.state]
        assert equal(tensors_of(own), tensors_of(theirs))
        assert not {t.data_ptr() for t in tensors_of(own) if t.numel()} & {t.data_ptr() for t in tensors_of(theirs)}


def test_one_parameter_shared_and_one_copied():
    model, optimizer = make("Adam", {})
    train(model, optimizer, 0)
    twin, follower = ramet.clone((model, optimizer), share="0.first")
    assert parameters_of(follower)[0] is model.first.weight is twin.first.weight
    assert parameters_of(follower)[1] is twin.second.weight is not model.second.weight
    assert [id(p) for p in follower.state] == [id(p) for p in parameters_of(follower)]


def test_parameters_that_no_member_holds_come_along_as_copies():
    extra = nn.Parameter(torch.ones(2))
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([*model.parameters(), extra], lr=1.0, momentum=0.9)
    for source in (model, optimizer), (optimizer,):
        follower = ramet.clone(source)[-1]
        extra.grad, parameters_of(follower)[2].grad = None, torch.ones(2)
        follower.step()
        assert extra.tolist() == [1, 1] and parameters_of(follower)[2].tolist() == [0, 0]
        assert type(parameters_of(follower)[2]) is nn.Parameter
    shared = ramet.clone((optimizer,), share="0.param_groups.0.params.2")[0]
    assert parameters_of(shared)[2] is extra and parameters_of(shared)[0] is not model.weight


def test_every_entry_of_every_group_comes_along():
    model = Net()
    rate = torch.tensor(0.5)
    groups = [
        {"params": [("first", model.first.weight)], "lr": rate, "foreach": True, "note": ["mine"]},
        {"params": [("second", model.second.weight)], "capturable": True, "fused": None},
    ]
    optimizer = torch.optim.Adam(groups, lr=rate, betas=(0.8, 0.9), maximize=True)
    twin, follower = ramet.clone([model, optimizer])
    for group, made, parameter in zip(optimizer.param_groups, follower.param_groups, twin.parameters(), strict=True):
        assert list(group) == list(made) and made["params"][0] is parameter
        for key in group.keys() - {"params"}:
            assert group[key] == made[key], key
    assert follower.param_groups[0]["note"] is not optimizer.param_groups[0]["note"]
    own = follower.param_groups[0]["lr"]
    assert own is follower.param_groups[1]["lr"] is follower.defaults["lr"] is not rate
    own.fill_(3)
    assert rate == 0.5 and follower.defaults is not optimizer.defaults
    follower.add_param_group({"params": [("third", nn.Parameter(torch.ones(1)))]})
    assert len(optimizer.param_groups) == 2 and follower.param_groups[2]["betas"] == (0.8, 0.9)


class Watcher:
    def __init__(self):
        self.seen = []

    def note(self, optimizer, *rest):
        self.seen.append(optimizer)


HOOKS = [
    "register_step_pre_hook",
    "register_step_post_hook",
    "register_state_dict_pre_hook",
    "register_state_dict_post_hook",
    "register_load_state_dict_pre_hook",
    "register_load_state_dict_post_hook",
]


@pytest.mark.parametrize("register", HOOKS)
@pytest.mark.parametrize("wrap", [lambda method: method, functools.partial])
def test_hooks_come_along_and_follow_their_owner(register, wrap):
    model, watcher, outside = Net(), Watcher(), Watcher()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for hook in watcher.note, outside.note:
        getattr(optimizer, register)(wrap(hook))
    _, follower, follows = ramet.clone((model, optimizer, watcher))
    follower.step()
    follower.load_state_dict(follower.state_dict())
    assert follows.seen and all(seen is follower for seen in follows.seen) and watcher.seen == []
    assert outside.seen == follows.seen
    name = register.replace("register", "_optimizer") + "s"
    assert type(getattr(follower, name)) is type(getattr(optimizer, name))
    handle = getattr(follower, register)(lambda *_: None)
    assert len(getattr(optimizer, name)) == 2
    handle.remove()


def test_a_hook_of_a_kept_owner_stays_its():
    model, watcher = Net(), Watcher()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(watcher.note)
    _, follower, kept = ramet.clone((model, optimizer, watcher), keep="2")
    follower.step()
    assert kept is watcher and watcher.seen == [follower]


def test_a_kept_optimizer_stays_with_the_sources_parameters():
    model, optimizer = make("SGD", {"lr": 0.1})
    twin, kept = ramet.clone((model, optimizer), keep="1")
    assert kept is optimizer and twin.first.weight is not model.first.weight
    assert ramet.clone((model, [optimizer]), keep="1")[0].first.weight is not model.first.weight


def test_an_optimizer_is_plain_state_to_rules():
    model, optimizer = make("Adam", {})
    train(model, optimizer, 0)
    with pytest.raises(ramet.PlanError, match=r"'1' names plain state.*keep='1'"):
        ramet.clone((model, optimizer), share="1")
    with pytest.raises(ramet.PlanError, match=r"is no selector.*keep= is for plain objects"):
        ramet.clone((model, optimizer), share=optimizer)
    plan = ramet.plan({"model": model, "optimizer": optimizer}, share="model.first")
    assert plan["optimizer.param_groups.0.params.0"].mode == "share" and not any("state" in path for path in plan)
    # What holds the optimizer may be named: its parameters are shared, and still not what it keeps for them.
    model.optimizer = optimizer
    for source, rule in ((model, ""), ([[model, optimizer]], "0")):
        clone = ramet.clone(source, share=rule)
        follower = clone.optimizer if source is model else clone[0][1]
        assert parameters_of(follower)[0] is model.first.weight
        average, own = optimizer.state[model.first.weight]["exp_avg"], follower.state[model.first.weight]["exp_avg"]
        assert torch.equal(average, own) and average.data_ptr() != own.data_ptr()


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=str)
@pytest.mark.parametrize("change", [{"dtype": torch.float64}, {"device": "meta"}], ids=str)
def test_state_follows_device_and_dtype_as_load_state_dict_has_it(name, arguments, change):
    model, optimizer = make(name, arguments)
    train(model, optimizer, 0)
    reference = copy.deepcopy(model).to(**change)
    made = arguments | {"fused": None} if "fused" in arguments else arguments  # a meta tensor can have no fused one
    loaded = type(optimizer)(reference.parameters(), **made)
    loaded.load_state_dict(optimizer.state_dict())
    twin, follower = ramet.clone((model, optimizer), **change)
    kinds = [[(t.dtype, t.device.type) for t in tensors_of(list(it.state.values()))] for it in (loaded, follower)]
    assert kinds[0] == kinds[1]
    assert "device" in change or equal(values(reference, loaded), values(twin, follower))


def test_a_plan_counts_the_bytes_of_what_an_optimizer_keeps():
    model, optimizer = make("SGD", {"lr": torch.tensor(0.1), "momentum": 0.9})
    parameters, rate = 4 * (20 + 15), 4
    assert ramet.plan((model, optimizer)).nbytes == parameters + rate
    train(model, optimizer, 0)
    assert ramet.plan((model, optimizer)).nbytes == 2 * parameters + rate
    assert ramet.plan((model, optimizer), share=True).nbytes == parameters + rate


def test_an_untied_parameter_is_not_the_optimizers():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    twin, follower = ramet.clone((model, optimizer), untie="0.b.weight")
    assert twin["b"].weight is not twin["a"].weight is parameters_of(follower)[0]
    assert [id(p) for p in parameters_of(follower)] == [id(p) for n, p in twin.named_parameters() if n != "b.weight"]


class Lion(torch.optim.Optimizer):
    """As one finds them: with a __setstate__ for old checkpoints, and more attributes than torch's own."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})
        self.steps, self.restored = 0, 0

    def __setstate__(self, state):
        super().__setstate__(state)
        self.restored = state["steps"]

    @torch.no_grad()
    def step(self, closure=None):
        self.steps += 1
        for p in self.param_groups[0]["params"]:
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            p.sub_(momentum.lerp_(p.grad, 0.1).sign(), alpha=self.param_groups[0]["lr"])


class Picky(Lion):
    """Says itself what is copied."""

    def __getstate__(self):
        return self.__dict__.copy()


@pytest.mark.parametrize("kind", [Lion, Picky])
def test_optimizers_of_the_users_own(kind):
    model = Net()
    optimizer = kind(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model(torch.rand(2, 4)).sum().backward()
    optimizer.step()
    twin, follower, _ = ramet.clone((model, optimizer, scheduler))
    assert follower.steps == follower.restored == 1 and optimizer.restored == 0
    before = model.first.weight.clone()
    twin(torch.rand(2, 4)).sum().backward()
    follower.step()
    assert optimizer.steps == 1 and follower.steps == 2 and torch.equal(model.first.weight, before)
    assert follower.state[twin.first.weight]["momentum"] is not optimizer.state[model.first.weight]["momentum"]


def patched_by_closure(optimizer, calls):
    step = optimizer.step

    def counted(*args, **kwargs):
        calls.append(1)
        return step(*args, **kwargs)

    optimizer.step = counted


def patched_by_method(optimizer, calls):
    step = optimizer.step

    def counted(self, *args, extra=None):
        calls.append(self)
        return step(*args)

    optimizer.step = types.MethodType(counted, optimizer)


def patched_twice(optimizer, calls):
    patched_by_method(optimizer, calls)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)


def patched_after_a_scheduler(optimizer, calls):
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    patched_by_closure(optimizer, calls)


@pytest.mark.parametrize("patch", [patched_by_closure, patched_by_method, patched_twice, patched_after_a_scheduler])
def test_a_step_patched_on_the_instance_is_the_clones(patch):
    model, calls = Net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    patch(optimizer, calls)
    twin, follower = ramet.clone((model, optimizer))
    before = model.first.weight.clone()
    twin(torch.rand(2, 4)).sum().backward()
    follower.step()
    assert len(calls) == 1 and calls[0] in (1, follower)
    assert torch.equal(model.first.weight, before) and not torch.equal(twin.first.weight, before)
    assert follower.step.__name__ == optimizer.step.__name__


def test_a_function_that_does_not_refer_to_the_optimizer_stays_the_same():
    model, calls = Net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def count(depth=2):
        calls.append(depth)
        return count(depth - 1) if depth else calls

    optimizer.count = count
    follower = ramet.clone((model, optimizer))[1]
    assert follower.count is count


def test_an_averaged_model_is_averaged_apart():
    model = Net()
    for average in (
        torch.optim.swa_utils.AveragedModel(model),
        torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)),
    ):
        average.update_parameters(model)
        twin, own = ramet.clone((model, average))
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1)
        before = [p.clone() for p in average.parameters()]
        own.update_parameters(twin)
        assert own.n_averaged == 2 and average.n_averaged == 1
        assert equal(before, [p.detach() for p in average.parameters()])
        assert not equal(before, [p.detach() for p in own.parameters()])


def scaled_step(model, optimizer, scaler):
    optimizer.zero_grad()
    scaler.scale(model(torch.ones(2, 4)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_a_grad_scaler_comes_along():
    model, optimizer = make("SGD", {"lr": 0.1, "momentum": 0.9})
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    for _ in range(3):
        scaled_step(model, optimizer, scaler)
    source = (model, optimizer, scaler)
    clone = ramet.clone(source)
    assert clone[2] is not scaler and clone[2].get_scale() == scaler.get_scale() == 16.0
    assert clone[2].state_dict() == scaler.state_dict()
    before = values(model, optimizer)
    scaled_step(*clone)
    assert clone[2].get_scale() == 32.0 and scaler.get_scale() == 16.0 and equal(values(model, optimizer), before)
    scaled_step(*source)
    assert scaler.get_scale() == 32.0 and equal(values(model, optimizer), values(*clone[:2]))
    assert not ramet.clone((model, torch.amp.GradScaler("cpu", enabled=False)))[1].is_enabled()


def test_a_grad_scaler_between_unscaling_and_update_is_refused():
    model, optimizer = make("SGD", {"lr": 0.1})
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.ones(2, 4)).sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(ramet.UncloneableError, match=r"slot '2': .*'GradScaler'.*after scaler.update.*keep='2'"):
        ramet.clone((model, optimizer, scaler))
