"""What two models share, alias, or only equal: ``relation`` and ``Relation``."""

from collections.abc import Iterator, Mapping

from ramet import _C
from ramet._catalog import Tie


class Relation(Mapping[str, str]):
    """How two models relate: a mapping from each path that both have, in walk order of ``a``, to a word.

    | word | what stands there on the two sides |
    | --- | --- |
    | ``"shared"`` | the same tensor object |
    | ``"aliased"`` | two tensors that have an element's bytes in common |
    | ``"lazy"`` | the same bytes, until either side writes |
    | ``"equal"`` | the same shape, dtype and values; a NaN equals a NaN of the same bits, meta tensors have no values |
    | ``"different"`` | anything else, also ``None`` or something that is no tensor on one side |

    A slot is listed by its first path, and can be asked for by any that both sides have. If one side ties what the
    other does not, every pair of slots is listed. Holds names only, no tensor or module. Prints as a table.

    Attributes:
        shared: the paths with that word; likewise ``aliased``, ``lazy``, ``equal`` and ``different``.
        only_a: paths of tensors that only the first model has.
        only_b: paths of tensors that only the second model has.
        ties_a: ties of the first model, none of the second's having the same names.
        ties_b: ties of the second model, none of the first's having the same names.
    """

    def __init__(self, found: _C.Relation) -> None:
        """Takes what the engine found; call ``ramet.relation`` instead."""
        rows = found.rows()

        def paths(word: str) -> frozenset[str]:
            return frozenset(path for path, given in rows if given == word)

        self.shared, self.aliased, self.lazy = paths("shared"), paths("aliased"), paths("lazy")
        self.equal, self.different = paths("equal"), paths("different")
        self.only_a, self.only_b = paths("only_a"), paths("only_b")
        self.ties_a, self.ties_b = tuple(found.ties_a(Tie)), tuple(found.ties_b(Tie))
        self._found = found
        self._words = {path: word for path, word in rows if word not in {"only_a", "only_b"}}

    def __getitem__(self, path: str) -> str:
        """Returns the word of a tensor slot, by any path that both sides have.

        Raises:
            KeyError: only one side has the path (the text says which), neither has, or it leads to no tensor.
        """
        try:
            return self._found.word(path)
        except _C.PlanError as error:
            raise KeyError(str(error)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def __repr__(self) -> str:
        sides = {name: getattr(self, name) for name in ("only_a", "only_b", "ties_a", "ties_b")}
        listed = "".join(f", {name}={sorted(held)}" for name, held in sides.items() if held)
        return f"Relation({self._words!r}{listed})"

    def __str__(self) -> str:
        return str(self._found).rstrip("\n")


def relation(a: object, b: object, /) -> Relation:
    """Compares two models, path by path: what they share, what they alias, and what is only equal.

    Values are read in place and only where two tensors are neither shared nor aliased; those on different devices are
    compared on the CPU. Sparse tensors are compared by their parts. A tensor that is no plain view of bytes (a wrapper
    subclass, a quantized tensor) is equal if ``torch.equal`` says so, and different where that does not work.

    Args:
        a: a ``torch.nn.Module``, or a session of modules as for ``clone``.
        b: another, or the same one. They need not have the same structure.

    Returns:
        The word of every path that both have, the paths that only one has, and the ties that only one has.

    Raises:
        PlanError: ``a`` or ``b`` is neither a module nor a session of modules.

    Example:
        >>> import ramet
        >>> from torch import nn
        >>> model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10)})
        >>> clone = ramet.clone(model, share="embed")
        >>> nn.init.zeros_(clone["head"].bias).numel()
        10
        >>> found = ramet.relation(model, clone)
        >>> print(found)
        path          relation
        embed.weight  shared
        head.weight   equal
        head.bias     different
        3 paths: 1 shared, 1 equal, 1 different
        >>> found["embed.weight"], found.different
        ('shared', frozenset({'head.bias'}))
    """
    return Relation(_C.relation(a, b))
