"""Modules of torch.distributed: replicas and DTensors are cloned; what FSDP has sharded is an error with a way out."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import ramet

pytestmark = [
    pytest.mark.skipif(not dist.is_gloo_available(), reason="needs torch with gloo"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(autouse=True)
def _process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_replica_is_cloned_with_the_module_in_it():
    net = DistributedDataParallel(nn.Linear(3, 2))
    clone = ramet.clone(net)
    assert type(clone) is DistributedDataParallel
    assert ramet.relation(net, clone).shared == set()
    clone(torch.ones(1, 3)).sum().backward()
    assert clone.module.weight.grad is not None
    assert net.module.weight.grad is None
    assert type(ramet.clone(net.module)) is nn.Linear


def test_dtensors_are_copied_with_their_placement():
    mesh = init_device_mesh("cpu", (1,))
    net = nn.Linear(4, 4)
    net.weight = nn.Parameter(distribute_tensor(net.weight.data, mesh, [Shard(0)]))
    clone = ramet.clone(net)
    assert clone.weight.placements == net.weight.placements
    before = net.weight.to_local().clone()
    assert torch.equal(clone.weight.to_local(), before)
    with torch.no_grad():
        clone.weight.zero_()
    assert torch.equal(net.weight.to_local(), before)
    assert ramet.clone(net, share=True).weight is net.weight


TEXT = (
    "cannot be copied (FSDP has spread its parameters over processes: clone the module before it is sharded, or load a "
    "gathered state_dict into a clone of the module that is not)"
)


@pytest.mark.parametrize("way", ["fully_shard", "FullyShardedDataParallel"])
def test_what_is_sharded_is_an_error_that_says_what_to_do(way):
    inner = nn.Linear(4, 4)
    if way == "fully_shard":
        sharded = fully_shard(inner, mesh=init_device_mesh("cpu", (1,)))
    else:
        sharded = FullyShardedDataParallel(inner, device_id=torch.device("cpu"))
    net = nn.Sequential(nn.Linear(4, 4), sharded)
    with pytest.raises(ramet.UncloneableError) as error:
        ramet.clone(net)
    assert str(error.value).startswith("clone: slot '1': an object of type 'F")
    assert TEXT in str(error.value)
    assert str(error.value).endswith("; keep='1' lets the clone hold the source's own")
    with pytest.raises(ramet.UncloneableError) as error:
        ramet.clone(sharded)
    assert str(error.value).startswith("clone: the source itself: ")
    assert ramet.clone(net, keep="1")[1] is sharded
