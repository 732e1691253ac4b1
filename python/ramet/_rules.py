"""What a rule may be given: the types of selectors."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn

# A selector of a mode: True, a kind or a module type, a path or a glob, a module or a tensor.
Selector: TypeAlias = Literal[True] | str | type[nn.Module] | type[nn.Parameter] | type[nn.Buffer] | nn.Module | Tensor
Rule: TypeAlias = Selector | Sequence[Selector] | None
# keep takes paths, globs and any object that the source holds.
Keep: TypeAlias = object


def requested(copy: Rule, share: Rule, keep: Keep) -> dict[str, object]:
    """Returns the rules that were given, by name."""
    given: dict[str, object] = {"copy": copy, "share": share, "keep": keep}
    return {name: rule for name, rule in given.items() if rule is not None}
