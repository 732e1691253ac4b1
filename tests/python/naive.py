"""A naive reading of the rules: what a clone must be, slot by slot, as slow and plain as can be.

Input: a model and rules. Output: for every tensor slot what the clone's tensor is to the source's, or ``RefusedError``;
and what every element holds after writes to either side. Looks at each pair of slots, rules and tensors; knows nothing
of how it is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

RANKS = ["all", "kind", "type", "module", "tensor"]
MODES = ("copy", "share", "alias", "lazy", "differentiable", "init", "meta")
FRESH = -1.0  # what `fresh_values` writes


class RefusedError(Exception):
    """The rules cannot be carried out."""


class UnclearError(Exception):
    """Two readings of the rules are possible, and neither is wrong."""


@torch.no_grad()
def fresh_values(module: nn.Module) -> None:
    """An initializer: writes all that a module holds itself."""
    for tensor in [*module._parameters.values(), *module._buffers.values(), *getattr(module, "plain", [])]:
        if tensor is not None:
            tensor.fill_(FRESH)


@dataclass
class Slot:
    """A place that holds a tensor: in a module's parameters or buffers, or in its list ``plain``."""

    owner: nn.Module
    kind: str
    name: str
    tensor: torch.Tensor
    paths: list[str] = field(default_factory=list)


def modules_with_paths(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every path of every module, depth first."""
    return [*model.named_modules(remove_duplicate=False)]


def slots_of(model: nn.Module) -> list[Slot]:
    """Every slot once, with all of its paths."""
    found: dict[tuple[int, str, str], Slot] = {}
    for path, module in modules_with_paths(model):
        held = [("parameter", name, tensor) for name, tensor in module._parameters.items()]
        held += [("buffer", name, tensor) for name, tensor in module._buffers.items()]
        held += [("state", f"plain.{i}", tensor) for i, tensor in enumerate(getattr(module, "plain", []))]
        for kind, name, tensor in held:
            if tensor is None:
                continue
            slot = found.setdefault((id(module), kind, name), Slot(module, kind, name, tensor))
            slot.paths.append(f"{path}.{name}".lstrip("."))
    return list(found.values())


def places_of(tensor: torch.Tensor) -> list[tuple[int, int]]:
    """The elements of a tensor in their order, by storage and place."""
    if tensor.numel() == 0:
        return []
    places = torch.arange(1000).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
    return [(tensor.untyped_storage()._cdata, int(place)) for place in places.flatten()]


def elements(tensor: torch.Tensor) -> set[tuple[int, int]]:
    """The elements of a tensor."""
    return set(places_of(tensor))


def beneath(module: nn.Module) -> list[nn.Module]:
    """What is registered in a module, at any depth, and itself."""
    return list(module.modules())


class Naive:
    """What ``ramet.clone(model, **rules)`` must give."""

    def __init__(self, model: nn.Module, rules: dict[str, Any]) -> None:
        self.model, self.rules = model, rules
        self.slots = slots_of(model)
        self.modules = modules_with_paths(model)
        self.modes = [(mode, selector) for mode in MODES for selector in self.listed(rules.get(mode))]

    @staticmethod
    def listed(given: Any) -> list[Any]:
        if given is None or given is False:
            return []
        return list(given) if isinstance(given, list) else [given]

    def named(self, selector: Any) -> list[tuple[Slot, str, nn.Module | None]]:
        """The slots that a selector names, with its rank and the module that it names each through."""
        if selector is True:
            return [(slot, "all", None) for slot in self.slots if slot.kind != "state"]
        if selector in (nn.Parameter, nn.Buffer):
            kind = "parameter" if selector is nn.Parameter else "buffer"
            return [(slot, "kind", None) for slot in self.slots if slot.kind == kind]
        if isinstance(selector, type):
            return self.through([m for _, m in self.modules if isinstance(m, selector)], "type")
        if isinstance(selector, nn.Module):
            return self.through([selector], "module")
        if isinstance(selector, torch.Tensor):
            return [(slot, "tensor", None) for slot in self.slots if slot.tensor is selector]
        if callable(selector):
            return [(slot, "module", None) for slot in self.slots if selector(slot.paths[0], slot.tensor)]
        exact = [(slot, "tensor", None) for slot in self.slots if selector in slot.paths]
        if exact:
            return exact
        through = [module for path, module in self.modules if path == selector]
        if through:
            return self.through(through[:1], "module")
        globbed = [slot for slot in self.slots if any(fnmatchcase(path, selector) for path in slot.paths)]
        return [(slot, "module", None) for slot in globbed]

    def through(self, modules: list[nn.Module], rank: str) -> list[tuple[Slot, str, nn.Module | None]]:
        unique = list({id(module): module for module in modules}.values())
        return [
            (slot, rank, module)
            for module in unique
            for slot in self.slots
            if any(slot.owner is inner for inner in beneath(module))
        ]

    def groups(self, untied: set[int]) -> list[list[Slot]]:
        """Slots of tied tensors; an untied slot stands alone, with what follows it."""
        groups: list[list[Slot]] = [[slot, *self.followers(slot)] for slot in self.slots if id(slot) in untied]
        apart = {id(slot) for group in groups for slot in group}
        for slot in self.slots:
            if id(slot) in apart:
                continue
            joined, rest = [slot], []
            for group in groups:
                alone = id(group[0]) in untied
                tied = not alone and any(
                    other.tensor is slot.tensor or elements(other.tensor) & elements(slot.tensor) for other in group
                )
                (joined.extend if tied else rest.append)(group)  # type: ignore[arg-type]
            groups = [*rest, joined]
        return groups

    def followers(self, slot: Slot) -> list[Slot]:
        """Plain state of a slot's module that holds the same tensor, unless another slot of the module does too."""
        same = [it for it in self.slots if it.owner is slot.owner and it.tensor is slot.tensor and it is not slot]
        return [] if slot.kind == "state" or any(it.kind != "state" for it in same) else same

    def held(self) -> set[int]:
        """The slots that keep names, itself or through a module."""
        return {id(slot) for keep in self.listed(self.rules.get("keep")) for slot, _, _ in self.named(keep)}

    def module_named(self, selector: Any) -> list[nn.Module]:
        """The module that a selector names by itself, if it does."""
        if isinstance(selector, nn.Module):
            return [selector]
        return [module for path, module in self.modules if isinstance(selector, str) and path == selector][:1]

    def held_modules(self) -> list[nn.Module]:
        """Modules kept, and those beneath."""
        kept = [module for keep in self.listed(self.rules.get("keep")) for module in self.module_named(keep)]
        return [inner for module in kept for inner in beneath(module)]

    def claims(self, slot: Slot) -> list[tuple[str, str]]:
        """The narrowest claims on a slot: (rank, mode)."""
        found = [
            (rank, mode, through)
            for mode, selector in self.modes
            for other, rank, through in self.named(selector)
            if other is slot
        ]
        if not found:
            return []
        best = max(RANKS.index(rank) for rank, _, _ in found)
        found = [claim for claim in found if RANKS.index(claim[0]) == best]

        def is_outer(module: nn.Module | None) -> bool:
            return module is not None and any(
                inner is not None and inner is not module and any(inner is m for m in beneath(module))
                for _, _, inner in found
            )

        return [(rank, mode) for rank, mode, through in found if not is_outer(through)]

    def expected(self) -> dict[str, tuple[str, bool]]:
        """By first path: the mode of each slot ("share" also for what is kept), and whether it is frozen."""
        untied = self.untied()
        held = self.held()
        groups = self.groups(untied)
        kept = {id(slot) for group in groups if any(id(slot) in held for slot in group) for slot in group}
        for _, selector in [*self.modes, *[("freeze", it) for it in self.listed(self.rules.get("freeze"))]]:
            named = self.named(selector)
            narrow = named and RANKS.index(named[0][1]) >= RANKS.index("type")
            within = [m for m in self.module_named(selector) if m in self.held_modules()]
            if within or (narrow and all(id(slot) in kept for slot, _, _ in named)):
                raise RefusedError(f"{selector} names only what is kept")
        result: dict[str, tuple[str, bool]] = {}
        for group in groups:
            mode = self.mode_of(group, kept, untied)
            self.check(group, mode)
            for slot in group:
                result[slot.paths[0]] = (mode, False)
        return self.frozen(result, groups)

    def mode_of(self, group: list[Slot], kept: set[int], untied: set[int]) -> str:
        if id(group[0]) in kept:
            return "share"
        claims = [claim for slot in group for claim in self.claims(slot)]
        if not claims:
            return "copy"
        best = max(RANKS.index(rank) for rank, _ in claims)
        modes = {mode for rank, mode in claims if RANKS.index(rank) == best}
        if len(modes) > 1:
            raise RefusedError("rules disagree")
        mode = modes.pop()
        return "copy" if id(group[0]) in untied and mode in ("share", "alias") else mode

    def check(self, group: list[Slot], mode: str) -> None:
        """What a mode cannot do with tied tensors."""
        followed = [elements(tensor) for tensor in {slot.tensor for slot in group if slot.tensor.requires_grad}]
        if mode == "differentiable" and len(set().union(*followed)) < sum(map(len, followed)):
            raise RefusedError("two tensors over common bytes, both of which autograd would follow")
        if mode == "init":
            for slot in group:
                named = {mode for _, mode in self.claims(slot)}
                if slot.kind != "state" and "init" not in named:
                    raise RefusedError("not every name of what is to be initialised is named")
                if slot.kind != "state" and len(named) > 1:
                    raise UnclearError("a name of what is initialised anyway is in two rules")

    def untied(self) -> set[int]:
        result = set()
        for path in self.listed(self.rules.get("untie")):
            slot = next(slot for slot in self.slots if path in slot.paths)
            result.add(id(slot))
        return result

    def frozen(self, result: dict[str, tuple[str, bool]], groups: list[list[Slot]]) -> dict[str, tuple[str, bool]]:
        for selector in self.listed(self.rules.get("freeze")):
            named = {id(slot) for slot, _, _ in self.named(selector)}
            hit = [slot for slot in self.slots if id(slot) in named]
            own = [slot for slot in hit if result[slot.paths[0]][0] != "share"]
            if hit and not own:
                raise RefusedError("nothing of its own to freeze")
            if selector is not True and len(own) < len(hit):
                raise RefusedError("freezing what is the source's own")
            if any(result[slot.paths[0]][0] == "differentiable" and slot.tensor.requires_grad for slot in own):
                raise RefusedError("freezing what is computed from the source")
            same = {id(slot.tensor) for slot in own}
            for group in groups:
                for slot in group:
                    one = len(group) == 1 or id(slot.tensor) in same
                    if id(slot) in {id(it) for it in own} or (one and id(slot.tensor) in same and len(group) > 1):
                        result[slot.paths[0]] = (result[slot.paths[0]][0], True)
        return result


class Memory:
    """What every element of a source and its clone holds: a number for each, and who else has that very element.

    Elements are the source's storages and places; those of the clone that are not the source's are in a part of their
    own, one for each group of tied tensors.
    """

    def __init__(self, naive: Naive, expected: dict[str, tuple[str, bool]], clone: nn.Module) -> None:
        self.sides = naive.slots, slots_of(clone)
        self.places: list[dict[str, list[tuple[int, int, int]]]] = [{}, {}]
        self.values: dict[tuple[int, int, int], float] = {}
        groups = naive.groups(naive.untied())
        for slot in naive.slots:
            path = slot.paths[0]
            part = 1 + next(i for i, group in enumerate(groups) if any(slot is it for it in group))
            mode = expected[path][0]
            for side, own in enumerate([0, 0 if mode in ("share", "alias") else part]):
                places = [(own, *element) for element in places_of(slot.tensor)]
                self.places[side][path] = [] if side == 1 and mode == "meta" else places
                values = slot.tensor.detach().flatten().tolist()
                fresh = [FRESH] * len(values) if side == 1 and mode == "init" else values
                self.values |= zip(self.places[side][path], fresh, strict=False)

    def write(self, side: int, slot: Slot, value: float) -> None:
        """Fills a slot's tensor, and notes what its elements then hold."""
        with torch.no_grad():
            slot.tensor.fill_(value)
        self.values |= dict.fromkeys(self.places[side][slot.paths[0]], value)

    def check(self) -> None:
        """Both sides hold what was noted, each by every slot."""
        for slots, places in zip(self.sides, self.places, strict=True):
            for slot in slots:
                wanted = [self.values[place] for place in places[slot.paths[0]]]
                assert slot.tensor.is_meta or slot.tensor.detach().flatten().tolist() == wanted, slot.paths
