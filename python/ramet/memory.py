"""The memory that dropped clones leave behind, kept warm for the next.

What takes time in a fresh clone of a big model is the system clearing its pages, not the copying. So the memory of
dropped clones stays with the process, up to a limit; the system may take it back whenever it needs it, but for the
latest 256 MiB. The words are those of ``torch.cuda``. Everything here may be called from several threads at once.
"""

from typing import NamedTuple

from ramet import _C


class Stats(NamedTuple):
    """Bytes, and how often the cache helped.

    Attributes:
        in_use: bytes held by clones, or by tensors that outlive them.
        cached: bytes freed, and kept for the next clone.
        limit: what ``cached`` never exceeds.
        mapped: how many pieces of memory were asked of the system.
        reused: how many came from the cache instead.
    """

    in_use: int
    cached: int
    limit: int
    mapped: int
    reused: int


def stats() -> Stats:
    """Returns the present figures. Counts pieces from 256 KiB on; smaller ones come from the heap.

    Example:
        >>> import ramet
        >>> ramet.memory.stats().cached <= ramet.memory.stats().limit
        True
    """
    return Stats(*_C.memory_stats())


def set_limit(nbytes: int, /) -> int:
    """Sets the limit of what stays cached, and frees what exceeds it.

    0 turns the cache off: all memory of clones is then the heap's.

    At first it is 1 GiB or an eighth of the machine's memory, whichever is less, or what the environment variable
    ``RAMET_MEMORY_LIMIT`` says, in bytes.

    Returns:
        The limit before.

    Raises:
        ValueError: ``nbytes`` is negative.

    Example:
        >>> import ramet
        >>> before = ramet.memory.set_limit(0)
        >>> ramet.memory.set_limit(before)
        0
    """
    if nbytes < 0:
        raise ValueError(f"set_limit: a limit is a number of bytes, zero or more, not {nbytes}")
    return _C.set_memory_limit(nbytes)


def empty_cache() -> None:
    """Gives all that is cached back to the system."""
    _C.empty_memory_cache()
