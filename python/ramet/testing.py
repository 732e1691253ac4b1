"""Assertions about what two models share, for tests of code that clones."""

from ramet import _C
from ramet._rules import Rule

__all__ = ["assert_independent", "assert_shared"]


def assert_shared(a: object, b: object, selector: Rule = True) -> None:
    """Asserts that every tensor of ``a`` that the selector names is the very tensor that ``b`` holds there.

    Args:
        a: a module or a session, as for ``clone``.
        b: another.
        selector: what a rule of ``clone`` may be given: ``True`` (every parameter and buffer), a kind, a module type, a
            path or a glob, a module or a tensor of ``a``, a predicate, or a list of these.

    Raises:
        AssertionError: a tensor is not shared; the text lists every such path and what it is instead.
        PlanError: the selector matches nothing, as for ``clone``.

    Example:
        >>> import ramet
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> clone = ramet.clone(model, share=nn.Linear)
        >>> ramet.testing.assert_shared(model, clone, nn.Linear)
        >>> ramet.testing.assert_shared(model, clone)
        Traceback (most recent call last):
        AssertionError: assert_shared: 2 of the 4 tensors named are not shared:
          1.weight: equal
          1.bias: equal
    """
    words = dict(_C.relation(a, b).rows())
    try:
        named = _C.named(a, selector, list(words))
    except _C.PlanError as error:
        raise _C.PlanError(str(error).replace("clone:", "assert_shared:", 1)) from None
    broken = [f"\n  {path}: {words[path]}" for path in named if words[path] != "shared"]
    if broken:
        raise AssertionError(
            f"assert_shared: {len(broken)} of the {len(named)} tensors named are not shared:{''.join(broken)}"
        )


def assert_independent(a: object, b: object) -> None:
    """Asserts that no write to a tensor of one model can reach the other, and that they have no module in common.

    Every tensor of ``a`` is held against every tensor of ``b``, under whatever paths, in plain state too: none may be
    the same object, or have an element's bytes in common. Plain objects other than modules and tensors may be shared.

    Args:
        a: a module or a session, as for ``clone``.
        b: another.

    Raises:
        AssertionError: they have something in common; the text lists all of it, by both paths.
        PlanError: ``a`` or ``b`` is neither a module nor a session of modules.

    Example:
        >>> import ramet
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> ramet.testing.assert_independent(model, ramet.clone(model))
        >>> ramet.testing.assert_independent(model, ramet.clone(model, share="0.bias"))
        Traceback (most recent call last):
        AssertionError: assert_independent: a and b have in common:
          '0.bias' of a and '0.bias' of b are one tensor
    """
    words = {"module": "are one module", "tensor": "are one tensor", "storage": "are aliased"}

    def named(path: str | None, side: str) -> str:
        if path is None:
            return f"something of {side} that no path names"
        return f"'{path}' of {side}" if path else f"{side} itself"

    broken = [f"\n  {named(x, 'a')} and {named(y, 'b')} {words[kind]}" for kind, x, y in _C.in_common(a, b)]
    if broken:
        raise AssertionError(f"assert_independent: a and b have in common:{''.join(broken)}")
