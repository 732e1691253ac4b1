"""Cloning: ``clone`` and ``clones``."""

from typing import TypeVar

from ramet import _C
from ramet._rules import Keep, Rule, requested

_Source = TypeVar("_Source")


def clone(source: _Source, /, *, copy: Rule = None, share: Rule = None, keep: Keep = None) -> _Source:
    """Clones a module, or several modules in one session, sharing exactly what the rules say.

    Without rules nothing is shared: every parameter and buffer is copied, with its dtype, device, shape and strides;
    what is tied within the source (one tensor or module under two names, views of one storage) is tied in the clone in
    the same way. Plain state is deep-copied. No constructor or initialiser runs, the random state does not advance, and
    the source is never changed.

    Rules name tensors by *selectors*, from the widest to the narrowest: ``True`` (every parameter and buffer), a kind
    (``nn.Parameter``, ``nn.Buffer``), a module type, a module (by path or as an object) or a glob (``*`` crosses dots),
    a tensor (by path or as an object); or a list of these. The narrower rule wins; tied tensors move together.

    Args:
        source: a ``torch.nn.Module``, or a tuple, list or dict of modules, nested at will: one session, in which ties
            between the members are kept.
        copy: selectors of tensors that the clone gets copies of, which is the default.
        share: selectors of tensors that the clone holds as the source's own: values *and* gradients are the same.
        keep: paths, globs or objects whose slots hold the source's very object, uncloned: a module with all beneath it,
            a tensor, or plain state (a counter, a cache, a lock).

    Returns:
        A clone of the same type and structure as ``source``.

    Raises:
        PlanError: a selector matches nothing, two rules disagree, or keep names a value that cannot change; raised
            before anything is allocated.
        UncloneableError: the source holds something that cannot be copied (a lock, a file) and no ``keep`` names it.

    Thread safety: one source may be cloned from several threads at once. Bytes are copied without the GIL.

    Example:
        >>> import ramet, torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        >>> twin = ramet.clone(model)
        >>> torch.equal(twin[0].weight, model[0].weight), twin[0].weight is model[0].weight
        (True, False)
        >>> head = ramet.clone(model, share="0")
        >>> head[0].weight is model[0].weight, head[1].weight is model[1].weight
        (True, False)
    """
    return _C.clones(source, 1, requested(copy, share, keep))[0]


def clones(source: _Source, n: int, /, *, copy: Rule = None, share: Rule = None, keep: Keep = None) -> list[_Source]:
    """Makes ``n`` clones at once, each as ``clone`` would make it, from one look at the source.

    Args:
        source: as for ``clone``.
        n: how many; zero or more.
        copy: as for ``clone``; each clone has copies of its own.
        share: as for ``clone``; all clones share with the source, and so with each other.
        keep: as for ``clone``.

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
    if n < 0:
        raise _C.PlanError(f"clones: n is the number of clones, zero or more, not {n}")
    return _C.clones(source, n, requested(copy, share, keep))
