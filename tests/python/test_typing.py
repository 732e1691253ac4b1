"""What a type checker sees: a clone has the static type of its source, and a rule of the wrong type is an error."""

import subprocess
import sys
from pathlib import Path

CODE = """
from dataclasses import dataclass
from typing import NamedTuple, assert_type

import torch
from torch import nn

import ramet


class Net(nn.Module):
    extra: int = 0


@dataclass
class Agent:
    actor: Net
    critic: nn.Linear


class Pair(NamedTuple):
    left: Net
    right: nn.Linear


net, linear = Net(), nn.Linear(2, 2)
optimizer = torch.optim.Adam(net.parameters())
assert_type(ramet.clone(net), Net)
assert_type(ramet.clone(net, share=True).extra, int)
assert_type(ramet.clone((net, linear)), tuple[Net, nn.Linear])
assert_type(ramet.clone((net, optimizer)), tuple[Net, torch.optim.Adam])
assert_type(ramet.clone([net, net]), list[Net])
assert_type(ramet.clone({"a": net}), dict[str, Net])
assert_type(ramet.clone(Agent(net, linear)).critic, nn.Linear)
assert_type(ramet.clone(Pair(net, linear)), Pair)
assert_type(ramet.clones(net, 3), list[Net])
assert_type(ramet.clones((net, linear), 3)[0][1], nn.Linear)
ramet.clone(net, share=["embed", nn.LayerNorm, nn.Parameter, net, lambda path, tensor: tensor.ndim == 1], keep=object())
ramet.clone(net, dtype=torch.half, device="cpu", grads="copy", within=net, untie=["a", "b.*"], memo={})
names: tuple[str, ...] = ramet.catalog(net)[0].names
mode: str = ramet.plan(net)["a"].mode
shared: frozenset[str] = ramet.relation(net, net).shared
ramet.tie(net, "a", "b")
ramet.untie(net, "a")
ramet.assign(net, {"a": torch.ones(1)})

ramet.clone(net, share=3)  # type: ignore[arg-type]
ramet.clone(net, grads=True)  # type: ignore[arg-type]
ramet.clone(net, untie=nn.Linear)  # type: ignore[arg-type]
ramet.clone(net, shares=True)  # type: ignore[call-arg]
ramet.clones(net)  # type: ignore[call-arg]
ramet.clones(net, 2, memo={})  # type: ignore[call-arg]
"""


def test_the_static_type_is_kept(tmp_path):
    (tmp_path / "user.py").write_text(CODE)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version=3.11", f"--cache-dir={root / '.mypy_cache'}"]
    result = subprocess.run([*command, "user.py"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
