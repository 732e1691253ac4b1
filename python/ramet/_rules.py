"""What a rule may be given: the types of selectors, and of the other options of a clone."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

# A selector of a mode: True, a kind or a module type, a path or a glob, a module or a tensor, a predicate.
Selector: TypeAlias = (
    bool
    | str
    | type[nn.Module]
    | type[nn.Parameter]
    | type[nn.Buffer]
    | nn.Module
    | Tensor
    | Callable[[str, Tensor], bool]
)
Rule: TypeAlias = Selector | Sequence[Selector] | None
# keep takes paths, globs and any object that the source holds.
Keep: TypeAlias = object
# untie takes paths and globs, or True.
Untie: TypeAlias = bool | str | Sequence[str] | None

# What initialises a module in place.
Initializer: TypeAlias = Callable[[nn.Module], object] | None

Grads: TypeAlias = Literal["drop", "copy"]
Device: TypeAlias = torch.device | str | int | None


def requested(**given: Any) -> dict[str, object]:
    """Returns the rules that were given, by name."""
    return {name: rule for name, rule in given.items() if rule is not None}
