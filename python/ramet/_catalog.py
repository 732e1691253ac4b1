"""What is tied to what: ``catalog``, ``Catalog`` and ``Tie``."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from ramet import _C


class Tie(NamedTuple):
    """Slots that hold one module, one tensor, or tensors with bytes in common.

    Attributes:
        kind: ``"module"``, ``"tensor"`` or ``"storage"``.
        names: at least two paths, in walk order; one a slot, its first.
        nbytes: the bytes in common; for a module, of all its tensors.
    """

    kind: str
    names: tuple[str, ...]
    nbytes: int


class Catalog(Sequence[Tie]):
    """All ties of a model: a sequence of ``Tie`` in walk order, which can also be asked by path.

    Holds the names of the model only, no tensor or module. Prints as a table.
    """

    def __init__(self, found: _C.Catalog) -> None:
        """Takes what the engine found; call ``ramet.catalog`` instead."""
        self._found = found
        self._ties = found.ties(Tie)

    def __len__(self) -> int:
        return len(self._ties)

    def __iter__(self) -> Iterator[Tie]:
        return iter(self._ties)

    @overload
    def __getitem__(self, key: int | str) -> Tie: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Tie]: ...
    def __getitem__(self, key: int | str | slice) -> Tie | Sequence[Tie]:
        """Returns the tie at an index, or the tie of a name by any of its paths.

        Raises:
            KeyError: the model has no such path, or what it names is not tied.
        """
        if not isinstance(key, str):
            return self._ties[key]
        try:
            index = self._found.find(key)
        except _C.PlanError as error:
            raise KeyError(str(error)) from None
        if index is None:
            raise KeyError(f"catalog: {key!r} is not tied to anything")
        return self._ties[index]

    def __repr__(self) -> str:
        return f"Catalog([{', '.join(map(repr, self._ties))}])"

    def __str__(self) -> str:
        return str(self._found).rstrip("\n")


def catalog(source: object, /) -> Catalog:
    """Lists what is tied to what within ``source``, and nothing that is not.

    A tie is a module or a tensor that several registered slots hold, or several tensors with bytes of one storage
    in common (decided exactly, for all strides). Slots that hold ``None``, tensors without elements, different meta
    tensors and slices of one storage that do not meet are never tied. Reads no tensor data.

    Args:
        source: as for ``clone``.

    Returns:
        The ties, in walk order of each one's first name.

    Raises:
        PlanError: ``source`` is neither a module nor a session of modules.

    Example:
        >>> import ramet
        >>> from torch import nn
        >>> model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10, bias=False)})
        >>> model["head"].weight = model["embed"].weight
        >>> for tie in ramet.catalog(model):
        ...     print(tie.kind, *tie.names, tie.nbytes)
        tensor embed.weight head.weight 160
    """
    return Catalog(_C.catalog(source))
