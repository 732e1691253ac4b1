"""Schedulers in a session: they drive the clone's optimizer, and warn of nothing that the source's would not."""

import functools
import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR

import ramet


class Ramp:
    """A callable object: it has state of its own, which a clone of the scheduler copies."""

    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 1 / (1 + epoch)


def chained(optimizer):
    return schedulers.ChainedScheduler(
        [schedulers.ConstantLR(optimizer, 0.5, 3), schedulers.ExponentialLR(optimizer, 0.9)], optimizer=optimizer
    )


def sequential(optimizer):
    return schedulers.SequentialLR(
        optimizer, [schedulers.LinearLR(optimizer, 0.1), schedulers.CosineAnnealingLR(optimizer, 4)], milestones=[3]
    )


SCHEDULERS = {
    "LambdaLR": lambda it: schedulers.LambdaLR(it, [lambda epoch: 0.9**epoch, Ramp()]),
    "MultiplicativeLR": lambda it: schedulers.MultiplicativeLR(it, lambda epoch: 0.9),
    "StepLR": lambda it: schedulers.StepLR(it, 2, 0.5),
    "MultiStepLR": lambda it: schedulers.MultiStepLR(it, [1, 3], 0.5),
    "ConstantLR": lambda it: schedulers.ConstantLR(it, 0.5, 3),
    "LinearLR": lambda it: schedulers.LinearLR(it, 0.1, total_iters=4),
    "ExponentialLR": lambda it: schedulers.ExponentialLR(it, 0.9),
    "PolynomialLR": lambda it: schedulers.PolynomialLR(it, 6, 2.0),
    "CosineAnnealingLR": lambda it: schedulers.CosineAnnealingLR(it, 4),
    "CosineAnnealingWarmRestarts": lambda it: schedulers.CosineAnnealingWarmRestarts(it, 2),
    "OneCycleLR": lambda it: schedulers.OneCycleLR(it, 1.0, total_steps=12),
    "CyclicLR": lambda it: schedulers.CyclicLR(it, 0.1, 1.0, step_size_up=3),
    "CyclicLR exp_range": lambda it: schedulers.CyclicLR(it, 0.1, 1.0, 3, mode="exp_range", gamma=0.9),
    "CyclicLR scale_fn": lambda it: schedulers.CyclicLR(it, 0.1, 1.0, 3, scale_fn=lambda x: 0.5),
    "ReduceLROnPlateau": lambda it: schedulers.ReduceLROnPlateau(it, patience=0),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "SWALR": lambda it: SWALR(it, 0.05, anneal_epochs=4),
}
RATES = {"floats": lambda: 0.5, "tensors": lambda: torch.tensor(0.5)}


def make(kind, rate):
    torch.manual_seed(1)
    model = nn.Linear(4, 3)
    groups = [{"params": [model.weight], "lr": rate()}, {"params": [model.bias], "lr": rate()}]
    optimizer = torch.optim.Adam(groups)
    return model, optimizer, SCHEDULERS[kind](optimizer)


def train(model, optimizer, scheduler):
    optimizer.zero_grad()
    loss = model(torch.ones(2, 4)).pow(2).sum()
    loss.backward()
    optimizer.step()
    plateau = isinstance(scheduler, schedulers.ReduceLROnPlateau)
    scheduler.step(1.0) if plateau else scheduler.step()
    return rates(optimizer)


def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def inner(scheduler):
    return [scheduler, *(s for held in getattr(scheduler, "_schedulers", []) for s in inner(held))]


def test_every_scheduler_of_torch_is_in_the_table():
    found = {name for name, it in vars(schedulers).items() if isinstance(it, type) and not name.startswith("_")}
    kinds = {name for name in found if issubclass(getattr(schedulers, name), schedulers.LRScheduler)}
    assert kinds - {"LRScheduler"} == {name.split()[0] for name in SCHEDULERS} - {"SWALR"}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("rules", [{}, {"share": "model"}, {"keep": "model"}], ids=str)
def test_a_scheduler_drives_the_clones_optimizer(kind, rate, rules):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at making some: torch's own
        model, optimizer, scheduler = make(kind, RATES[rate])
        for _ in range(2):
            train(model, optimizer, scheduler)
        twin, follower, driver = ramet.clone(
            {"model": model, "optimizer": optimizer, "scheduler": scheduler}, **rules
        ).values()
        assert type(driver) is type(scheduler) and rates(follower) == rates(optimizer)
        for source, made in zip(inner(scheduler), inner(driver), strict=True):
            assert made is not source and made.optimizer is follower
            assert vars(made).get("last_epoch") == vars(source).get("last_epoch")
            assert list(vars(made)) == list(vars(source))
        before, weight = rates(optimizer), weights(model)
        driven = [train(twin, follower, driver) for _ in range(3)]
        assert rates(optimizer) == before and driven != [before] * 3
        if not rules:
            assert equal(weights(model), weight)
            assert [train(model, optimizer, scheduler) for _ in range(3)] == driven
            assert equal(weights(model), weights(twin))


def warned(run):
    """What a call warns of, and its result."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run()
    return [str(warning.message) for warning in caught], result


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_clone_warns_of_nothing_that_its_source_does_not(kind, steps):
    source = make(kind, RATES["floats"])
    for _ in range(steps):
        train(*source)
    messages, clone = warned(lambda: ramet.clone(source))
    assert messages == []
    assert warned(lambda: train(*clone)) == warned(lambda: train(*source))


@pytest.mark.parametrize("kind", sorted(SCHEDULERS.keys() - {"ReduceLROnPlateau"}))
def test_steps_out_of_order_are_warned_of_as_in_the_source(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = make(kind, RATES["floats"])
    clone = ramet.clone(source)
    assert warned(clone[2].step) == warned(source[2].step)


@pytest.mark.parametrize("kind", ["StepLR", "SequentialLR"])
def test_the_step_that_a_scheduler_has_wrapped_is_the_clones(kind):
    model, optimizer, scheduler = make(kind, RATES["floats"])
    twin, follower, _ = ramet.clone((model, optimizer, scheduler))
    assert follower.step is not optimizer.step and follower.step._wrapped_by_lr_sched
    assert follower.step.__wrapped__ is optimizer.step.__wrapped__ and follower.step.__doc__ == optimizer.step.__doc__
    before = weights(model)
    twin(torch.ones(1, 4)).sum().backward()
    follower.step()
    assert equal(weights(model), before) and not equal(weights(twin), before)
    assert follower._opt_called and not hasattr(optimizer, "_opt_called")
    del model, optimizer, scheduler
    follower.step()


def test_an_optimizer_alone_keeps_its_wrapped_step():
    model, optimizer, scheduler = make("StepLR", RATES["floats"])
    twin, follower = ramet.clone((model, optimizer))
    assert follower.step._wrapped_by_lr_sched and follower.step is not optimizer.step
    own = schedulers.StepLR(follower, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(twin, follower, own)
    assert scheduler.last_epoch == 0


def test_a_scheduler_alone_brings_an_optimizer_along():
    model, optimizer, scheduler = make("StepLR", RATES["floats"])
    [driver] = ramet.clone([scheduler])
    assert driver.optimizer is not optimizer and type(driver.optimizer) is torch.optim.Adam
    assert driver.optimizer.param_groups[0]["params"][0] is not model.weight
    twin, kept, drives = ramet.clone((model, optimizer, scheduler), keep="1")
    assert kept is optimizer is drives.optimizer and drives is not scheduler and twin.weight is not model.weight


def test_a_callable_objects_state_is_the_clones_and_functions_stay_the_same():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ramp, factor = Ramp(), functools.partial(pow, 0.5)
    held = schedulers.ChainedScheduler(
        [schedulers.LambdaLR(optimizer, ramp), schedulers.LambdaLR(optimizer, factor), schedulers.StepLR(optimizer, 1)]
    )
    calls = ramp.calls
    _, follower, driver = ramet.clone((model, optimizer, held))
    follower.step()
    driver.step()
    own = driver._schedulers[0].lr_lambdas[0]
    assert own is not ramp and ramp.calls == calls and own.calls > calls
    assert driver._schedulers[1].lr_lambdas[0].func is pow


def test_the_best_value_of_a_plateau_comes_along():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    plateau = schedulers.ReduceLROnPlateau(optimizer, patience=1, factor=0.5)
    for value in 3.0, 4.0:
        plateau.step(value)
    _, follower, own = ramet.clone((model, optimizer, plateau))
    assert (own.best, own.num_bad_epochs) == (3.0, 1)
    own.step(4.0)
    assert rates(follower) == [0.5] and rates(optimizer) == [1.0] and plateau.num_bad_epochs == 1
