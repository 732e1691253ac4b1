"""Clones neural-network modules with exact control of what the clone shares with its source."""

import torch as _torch  # noqa: F401  (loads the libraries that the engine links)

from ramet import memory, testing
from ramet._C import PlanError, UncloneableError
from ramet._catalog import Catalog, Tie, catalog
from ramet._clone import clone, clones
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
    "memory",
    "plan",
    "relation",
    "testing",
    "tie",
    "untie",
]
