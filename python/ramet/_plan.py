"""What a clone would do, without doing it: ``plan``, ``Plan`` and ``Decision``."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from ramet import _C
from ramet._rules import Device, Grads, Initializer, Keep, Rule, Untie, requested


class Decision(NamedTuple):
    """What a slot of the clone gets.

    Attributes:
        mode: ``"copy"``, ``"share"``, ``"alias"``, ``"lazy"``, ``"differentiable"``, ``"init"``, ``"meta"``, or
            ``"keep"``.
        why: the rule that decided, as in ``share='encoder'``, followed by the reason where it says lazy and a copy is
            made; ``"default"`` if none did, ``"untied"`` where untying made a copy of it, ``"tied to what is kept"``
            where a tie or ``within`` leaves it the source's own.
        nbytes: what is allocated for it; 0 where another path's storage already holds it.
    """

    mode: str
    why: str
    nbytes: int


class Plan(Mapping[str, Decision]):
    """What a clone would do: a mapping from each tensor slot's path, in walk order, to its ``Decision``.

    Slots that ``keep`` names are in it too. Prints as a table.
    """

    def __init__(self, made: _C.Plan) -> None:
        """Takes what the engine planned; call ``ramet.plan`` instead."""
        self._made = made
        self._decisions = {path: Decision(mode, why, nbytes) for path, mode, why, nbytes in made.rows()}

    @property
    def nbytes(self) -> int:
        """All bytes that a clone allocates, also for tensors that no path names: an optimizer's state, say."""
        return self._made.nbytes()

    def __getitem__(self, path: str) -> Decision:
        return self._decisions[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decisions)

    def __len__(self) -> int:
        return len(self._decisions)

    def __repr__(self) -> str:
        return f"Plan({self._decisions!r})"

    def __str__(self) -> str:
        return str(self._made).rstrip("\n")


def plan(
    source: object,
    /,
    *,
    copy: Rule = None,
    share: Rule = None,
    alias: Rule = None,
    lazy: Rule = None,
    differentiable: Rule = None,
    init: Rule = None,
    meta: Rule = None,
    keep: Keep = None,
    freeze: Rule = None,
    untie: Untie = None,
    grads: Grads = "drop",
    initializer: Initializer = None,
    within: nn.Module | None = None,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> Plan:
    """Says what ``clone`` with the same arguments would do, without allocating a tensor.

    Args:
        source: as for ``clone``.
        copy: as for ``clone``.
        share: as for ``clone``.
        alias: as for ``clone``.
        lazy: as for ``clone``.
        differentiable: as for ``clone``.
        init: as for ``clone``; nothing is initialised.
        meta: as for ``clone``.
        keep: as for ``clone``.
        freeze: as for ``clone``.
        untie: as for ``clone``.
        grads: as for ``clone``.
        initializer: as for ``clone``; not called.
        within: as for ``clone``.
        device: as for ``clone``.
        dtype: as for ``clone``.

    Returns:
        For every tensor slot its mode, the rule that decided, and the bytes to be allocated.

    Raises:
        PlanError: as for ``clone``.
        UncloneableError: as for ``clone``.

    Example:
        >>> import ramet
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        >>> print(ramet.plan(model, share=nn.LayerNorm))
        path      mode   bytes  why
        0.weight  copy   64 B   default
        0.bias    copy   16 B   default
        1.weight  share  0 B    share=nn.LayerNorm
        1.bias    share  0 B    share=nn.LayerNorm
        4 slots, 80 B to allocate
    """
    rules = requested(
        copy=copy,
        share=share,
        alias=alias,
        lazy=lazy,
        differentiable=differentiable,
        init=init,
        meta=meta,
        keep=keep,
        freeze=freeze,
        untie=untie,
        grads=grads,
        initializer=initializer,
        within=within,
        device=device,
        dtype=dtype,
    )
    return Plan(_C.plan(source, rules))
