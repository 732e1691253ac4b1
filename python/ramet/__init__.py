"""Clones neural-network modules with exact control of what the clone shares with its source.

``clone`` and ``clones`` clone. Beforehand ``catalog`` lists what is tied to what, and ``plan`` what a clone would do;
afterwards ``relation`` says what two models share, and ``testing`` asserts it. ``tie``, ``untie`` and ``assign`` change
a model in place; ``memory`` governs what dropped clones leave behind.

The package holds the C++ library and its headers too: with ``cmake_prefix_path`` in CMake's ``CMAKE_PREFIX_PATH``,
``find_package(ramet CONFIG)`` gives the target ``ramet::ramet``.

Example:
    >>> import ramet
    >>> from torch import nn
    >>> model = nn.ModuleDict({"trunk": nn.Linear(4, 8), "head": nn.Linear(8, 2)})
    >>> reference = ramet.clone(model, freeze=True)
    >>> value = ramet.clone(model, share="trunk")
    >>> print(ramet.relation(model, value))
    path          relation
    trunk.weight  shared
    trunk.bias    shared
    head.weight   equal
    head.bias     equal
    4 paths: 2 shared, 2 equal
"""

import torch as _torch  # noqa: F401  (loads the libraries that the engine links)

from ramet import memory, testing
from ramet._C import PlanError, UncloneableError
from ramet._catalog import Catalog, Tie, catalog
from ramet._clone import clone, clones
from ramet._cmake import cmake_prefix_path
from ramet._inplace import assign, tie, untie
from ramet._plan import Decision, Plan, plan
from ramet._relation import Relation, relation

__all__ = [
    "Catalog",
    "Decision",
    "Plan",
    "PlanError",
    "Relation",
    "Tie",
    "UncloneableError",
    "assign",
    "catalog",
    "clone",
    "clones",
    "cmake_prefix_path",
    "memory",
    "plan",
    "relation",
    "testing",
    "tie",
    "untie",
]
