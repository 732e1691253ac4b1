"""Cloning: ``clone`` and ``clones``."""

from typing import Any, TypeVar, cast

import torch
from torch import nn

from ramet import _C
from ramet._rules import Device, Grads, Initializer, Keep, Rule, Untie, requested

_Source = TypeVar("_Source")


def clone(
    source: _Source,
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
    memo: dict[int, Any] | None = None,
) -> _Source:
    """Clones a module, or several modules in one session, sharing exactly what the rules say.

    Without rules nothing is shared: every parameter and buffer is copied, with its dtype, device, shape and strides;
    what is tied within the source (one tensor or module under two names, views of one storage) is tied in the clone in
    the same way. Plain state is deep-copied. No constructor runs, and no initialiser unless ``init`` asks for it, the
    random state does not advance otherwise, and the source is never changed.

    Rules name tensors by *selectors*, from the widest to the narrowest: ``True`` (every parameter and buffer), a kind
    (``nn.Parameter``, ``nn.Buffer``), a module type, a module (by path or as an object), a glob (``*`` crosses dots) or
    a predicate ``f(path, tensor) -> bool``, a tensor (by path or as an object); or a list of these. The narrower rule
    wins; tied tensors move together. ``None`` and ``False`` ask for nothing.

    Args:
        source: a ``torch.nn.Module``, or a session: tuples, lists, dicts, dataclasses and named tuples, nested at will,
            of modules, optimizers, schedulers, a ``GradScaler`` and tensors. Ties between the members are kept, an
            optimizer follows its parameters' clones with state of its own, and a scheduler its optimizer's. A member
            tensor counts as a parameter if it is one, else as a buffer; all other members are plain state.
        copy: selectors of tensors that the clone gets copies of, which is the default.
        share: selectors of tensors that the clone holds as the source's own: values *and* gradients are the same.
        alias: selectors of tensors that get a tensor of their own over the source's memory: the same values, a gradient
            (and a version counter) of the clone's own.
        lazy: selectors of tensors that get the source's memory until either side first writes to it, and then memory of
            their own: copy on write. What cannot be (on other devices; memory of neither torch's CPU allocator nor
            ours; what changes device or dtype) is copied, and ``ramet.plan`` says so.
        differentiable: selectors of tensors that get copies which autograd links to the source's: gradients, of any
            order, flow back to those. They are plain tensors and no leaves, in parameter slots too: step with
            ``assign``, not with an optimizer. What does not require grad is copied.
        init: selectors of tensors that get fresh values, by the ``reset_parameters`` (else ``_reset_parameters``) of
            the modules that own them, or by ``initializer``. All names of a tied tensor must be named.
        meta: selectors of tensors that get none of the values: they stand on the meta device, ties included.
        keep: paths, globs or objects whose slots hold the source's very object, uncloned: a module with all beneath it,
            a tensor, or plain state (a counter, a cache, a lock).
        freeze: selectors of tensors of the clone's own that shall not require grad; ``True``: all that are its own.
        untie: paths or globs of tied slots that get a tensor (a module) of their own, or ``True`` for every tie. What
            would be shared or aliased there is copied.
        grads: ``"copy"`` copies ``.grad`` along with what is copied or lazy.
        initializer: what initialises a module for ``init``, in place of its own ``reset_parameters``: a transformers
            model's ``_init_weights``, say. Called with a scratch copy of each module that owns a tensor to be
            initialised, the inner ones first; what else it writes is dropped.
        within: a module that ``source`` is a part of: what is registered elsewhere in it stays its own where ``source``
            refers to it (tied tensors, back-references). Without it such things come along as copies.
        device: where the clone's own parameters and buffers go, with what is tied to them, on the way.
        dtype: what they become if they are floating or complex, as in ``Module.to``.
        memo: as in ``copy.deepcopy``, read and added to: ``memo[id(original)]`` is the clone's object.

    Returns:
        A clone of the same type and structure as ``source``; ``None`` where a member is ``None``.

    Raises:
        PlanError: ``source`` is neither a module nor a session, or an empty one; a selector matches nothing, two rules
            disagree, or a rule cannot apply to what it names; raised before anything is allocated.
        UncloneableError: the source holds something that cannot be copied (a lock, a file) and no ``keep`` names it.

    Thread safety: one source may be cloned from several threads at once. Bytes are copied without the GIL.

    Example:
        >>> import ramet, torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        >>> twin = ramet.clone(model)
        >>> torch.equal(twin[0].weight, model[0].weight), twin[0].weight is model[0].weight
        (True, False)
        >>> head = ramet.clone(model, share="0", freeze="1")
        >>> head[0].weight is model[0].weight, head[1].weight is model[1].weight, head[1].weight.requires_grad
        (True, False, False)

        A model with what trains it:

        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> model2, optimizer2 = ramet.clone((model, optimizer))
        >>> optimizer2.param_groups[0]["params"][0] is model2[0].weight
        True
    """
    if isinstance(memo, dict) and id(source) in memo:
        return cast(_Source, memo[id(source)])
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
        memo=memo,
    )
    return _C.clones(source, 1, rules)[0]


def clones(
    source: _Source,
    n: int,
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
) -> list[_Source]:
    """Makes ``n`` clones at once, each as ``clone`` would make it, from one look at the source.

    Args:
        source: as for ``clone``.
        n: how many; zero or more.
        copy: as for ``clone``; each clone has copies of its own.
        share: as for ``clone``; all clones share with the source, and so with each other.
        alias: as for ``clone``.
        lazy: as for ``clone``.
        differentiable: as for ``clone``; gradients from all clones add up in the source.
        init: as for ``clone``; each clone has values of its own, drawn for one clone after the other.
        meta: as for ``clone``.
        keep: as for ``clone``.
        freeze: as for ``clone``.
        untie: as for ``clone``.
        grads: as for ``clone``.
        initializer: as for ``clone``.
        within: as for ``clone``.
        device: as for ``clone``.
        dtype: as for ``clone``.

    Returns:
        A list of ``n`` clones.

    Raises:
        PlanError: as for ``clone``, and if ``n`` is negative.
        UncloneableError: as for ``clone``.

    Example:
        The layers of a Transformer, from one:

        >>> import ramet
        >>> from torch import nn
        >>> layer = nn.TransformerEncoderLayer(d_model=8, nhead=2)
        >>> layers = nn.ModuleList(ramet.clones(layer, 6))
        >>> len({id(p) for p in layers.parameters()}) == 6 * len(list(layer.parameters()))
        True
    """
    if not isinstance(n, int):
        raise _C.PlanError(f"clones: n is the number of clones, an int, not {n!r}")
    if not 0 <= n < 2**31:
        raise _C.PlanError(f"clones: n is the number of clones, zero or more, not {n}")
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
    return _C.clones(source, n, rules)
