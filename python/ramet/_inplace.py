"""Changes of a model in place: ``tie``, ``untie`` and ``assign``."""

from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

from ramet import _C


def _checked(function: str, paths: Iterable[object]) -> list[str]:
    """Returns the paths; raises PlanError if one is no string."""
    for path in paths:
        if not isinstance(path, str):
            raise _C.PlanError(f"{function}: a path is a string like 'encoder.0.weight', not {path!r}")
    return [str(path) for path in paths]


def tie(model: object, /, *paths: str) -> None:
    """Ties slots of ``model`` in place: every later path gets the very tensor, or module, of the first.

    What a later path named is replaced under all its names, and plain references to it follow (an RNN's flat weights, a
    list of peers), so that nothing of ``model`` holds it any more. Values are not merged: the first one's stay. An
    optimizer of the session steps what is tied once, with what it has kept for the first.

    Slots are set in the modules' own dicts; no ``__setattr__`` runs.

    Args:
        model: a module, or a session of modules.
        *paths: two or more, each by any of a slot's paths: all of tensors of one shape, dtype and device, or all of
            modules of exactly one type, none within another.

    Raises:
        PlanError: a path names nothing, None or plain state; what they name does not agree; a parameter slot would get
            a tensor that is no ``Parameter``. The model is then as it was.

    Thread safety: none, as for any other change of a model.

    Example:
        >>> import ramet
        >>> from torch import nn
        >>> model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10)})
        >>> ramet.tie(model, "embed.weight", "head.weight")
        >>> model["head"].weight is model["embed"].weight
        True
    """
    _C.tie(model, _checked("tie", paths))


def untie(model: object, /, *paths: str | Literal[True]) -> None:
    """Unties slots of ``model`` in place: each gets a tensor, or module, of its own.

    A tensor's slot gets a copy with memory of its own: the same values, type, ``requires_grad`` and strides, without
    the gradient. A module's slot gets a clone of the module that is tied to nothing else. Other slots keep what they
    hold; plain references in the slot's own module (an RNN's flat weights) follow it. Views of one storage are tied
    too.

    Args:
        model: as for ``tie``.
        *paths: slots that are tied, or ``True`` alone: all but the first name of every tie.

    Raises:
        PlanError: a path names nothing, None, plain state or a slot that is not tied, or what is reached through a
            module with two names: the message says which module to untie. The model is then as it was.
        UncloneableError: a module to be untied holds something that cannot be copied.

    Example:
        >>> import ramet
        >>> from torch import nn
        >>> model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10)})
        >>> ramet.tie(model, "embed.weight", "head.weight")
        >>> ramet.untie(model, "head.weight")
        >>> model["head"].weight is model["embed"].weight
        False
    """
    if len(paths) == 1 and paths[0] is True:
        _C.untie_all(model)
    else:
        _C.untie(model, _checked("untie", paths))


def assign(model: object, /, tensors: Mapping[str, Tensor] | Iterable[Tensor]) -> None:
    """Puts tensors into slots of ``model`` in place, non-leaf ones too: the way to take a differentiable step.

    Every name of a tied tensor gets the one that is given for it, and plain references follow (an RNN's flat weights).
    An optimizer of the session goes on with what it has kept for the tensor that was there.
    What autograd knows (``requires_grad``, leaf or not) and what is a ``Parameter`` is put in as it is. Other tensors
    are data: in a parameter slot each becomes a ``Parameter`` over the same memory, with the ``requires_grad`` of the
    one before, as with ``load_state_dict(assign=True)``; elsewhere they too are put in as they are. Nothing is copied.

    Args:
        model: as for ``tie``.
        tensors: by path, or as many as ``parameters()`` gives, in that order. Each of the shape, dtype and device of
            what the slot holds; of any device if that is on ``meta``.

    Raises:
        PlanError: a path names nothing, None, a module or plain state; a tensor does not agree with what the slot
            holds; two are given for names of one tensor; a sequence has another length. The model is then as it was.

    Example:
        A step of gradient descent that can be differentiated:

        >>> import ramet, torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 1)
        >>> parameters = list(model.parameters())
        >>> loss = model(torch.ones(1, 2)).sum()
        >>> grads = torch.autograd.grad(loss, parameters, create_graph=True)
        >>> ramet.assign(model, [p - 0.1 * g for p, g in zip(parameters, grads)])
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> parameters[0].grad
        tensor([[1., 1.]])
    """
    if isinstance(tensors, Tensor) or not isinstance(tensors, Iterable):
        found = type(tensors).__name__
        raise _C.PlanError(f"assign: give tensors by path, or a sequence of them, not an object of type {found!r}")
    paths = _checked("assign", tensors) if isinstance(tensors, Mapping) else None
    given = list(tensors.values()) if isinstance(tensors, Mapping) else list(tensors)
    for name, tensor in zip(paths or map(str, range(len(given))), given, strict=True):
        if not isinstance(tensor, Tensor):
            raise _C.PlanError(f"assign: {name!r} is given an object of type {type(tensor).__name__!r}; give a tensor")
    _C.assign(model, paths, given)
