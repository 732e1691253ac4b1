"""The layers of the sources: what a file may include, by where it lies.

The pipeline runs one way, so a stage includes its own headers and those of earlier stages only. The core knows tensors,
not modules; the C++ library knows no Python; the two fronts do not know each other.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The core in the order in which data flows through it: each line is one stage, named by the stems of its files.
STAGES = [
    {"errors"},
    {"graph", "beneath", "fetch"},
    {"paths"},
    {"catalog", "overlap", "runs"},
    {"rules"},
    {"untie"},
    {"memory", "pool", "streaming", "copies", "slices", "transfers"},
    {"lazy"},
    {"plan", "blocks", "claims", "conversions", "differentiable", "init"},
    {"changes", "references"},
    {"arena"},
    {"materialize", "autograd"},
    {"report", "table"},
    {"relation", "compare"},
]
STAGE_OF = {stem: number for number, stems in enumerate(STAGES) for stem in stems}

# What no file of a layer may include, and why.
PYTHON = re.compile(
    r"(^|/)(Python\.h|cpython/|pybind11/|nanobind/)|torch/(extension|python)\.h|torch/csrc/.*(python|pybind|THP)"
)
FORBIDDEN = {
    "core": [(PYTHON, "the core knows no Python"), (re.compile(r"^torch/"), "the core knows tensors, not modules")],
    "nn": [(PYTHON, "the torch::nn front knows no Python")],
    "python": [(re.compile(r"^torch/(nn/|nn\.h|torch\.h|all\.h)"), "the torch.nn front knows no torch::nn")],
}
# The one file of the core that knows autograd's graph.
JOINS = ("src/core/autograd.cpp", re.compile(r"^torch/csrc/autograd/(?!python)"))


def layer_of(file: str) -> str:
    """The layer of a source or header, by its path from the root: core, nn or python."""
    path = Path(file)
    if path.parts[0] == "include":
        return "core" if path.stem in STAGE_OF else "nn"
    return path.parts[1]


def home_of(include: str) -> str | None:
    """The file that an include of ours names, by its path from the root; None for anybody else's."""
    for prefix, folder in {"ramet/": "include/", "core/": "src/", "nn/": "src/", "python/": "src/"}.items():
        if include.startswith(prefix):
            return folder + include
    return None


def violation(file: str, include: str) -> str | None:
    """Says why `file` must not include `include`, or None if it may."""
    layer = layer_of(file)
    for pattern, reason in FORBIDDEN[layer]:
        if pattern.search(include) and not (file == JOINS[0] and JOINS[1].search(include)):
            return f"{file} includes {include}: {reason}"
    if file.startswith("include/") and include == "torch/torch.h":
        return f"{file} includes {include}: it takes every user 10 s and more to compile"
    home = home_of(include)
    if home is None:
        return None
    if file.startswith("include/") and home.startswith("src/"):
        return f"{file} includes {include}: a public header includes no private one"
    target = layer_of(home)
    if target not in {layer, "core"}:
        return f"{file} includes {include}: {layer} does not know {target}"
    stem, included = Path(file).stem, Path(include).stem
    if layer == "core" and STAGE_OF[stem] < STAGE_OF[included]:
        return f"{file} includes {include}: {stem} comes before {included} in the pipeline"
    return None


def includes(file: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', file.read_text(), re.MULTILINE)


SOURCES = sorted(
    str(file.relative_to(ROOT))
    for folder in ("include", "src")
    for file in (ROOT / folder).rglob("*")
    if file.suffix in {".h", ".cpp"}
)


@pytest.mark.parametrize("file", SOURCES)
def test_includes_stay_within_their_layer(file):
    assert layer_of(file) in FORBIDDEN, f"{file} lies in no layer: sources are in src/core, src/nn or src/python"
    if layer_of(file) == "core":
        assert Path(file).stem in STAGE_OF, f"{file} has no stage: name it in STAGES, where it stands in the pipeline"
    assert [why for include in includes(ROOT / file) if (why := violation(file, include))] == []


def test_public_headers_include_each_other_in_no_circle():
    graph = {
        file: {home for include in includes(ROOT / file) if (home := home_of(include))}
        for file in SOURCES
        if file.startswith("include/")
    }
    while free := [file for file, needs in graph.items() if not needs & graph.keys()]:
        for file in free:
            del graph[file]
    assert graph == {}


def test_every_stage_is_there():
    stems = {Path(file).stem for file in SOURCES if layer_of(file) == "core"}
    assert stems == STAGE_OF.keys()


@pytest.mark.parametrize(
    ("file", "include", "reason"),
    [
        ("src/core/plan.cpp", "Python.h", "no Python"),
        ("src/core/plan.cpp", "torch/nn/module.h", "not modules"),
        ("src/core/plan.cpp", "torch/csrc/autograd/python_variable.h", "no Python"),
        ("src/core/plan.cpp", "nn/registry.h", "core does not know nn"),
        ("src/core/plan.cpp", "python/walk.h", "core does not know python"),
        ("src/core/plan.cpp", "ramet/clone.h", "core does not know nn"),
        ("src/core/plan.cpp", "ramet/materialize.h", "plan comes before materialize"),
        ("src/core/catalog.cpp", "core/blocks.h", "catalog comes before blocks"),
        ("src/core/blocks.h", "ramet/arena.h", "blocks comes before arena"),
        ("include/ramet/graph.h", "ramet/catalog.h", "graph comes before catalog"),
        ("include/ramet/graph.h", "torch/torch.h", "not modules"),
        ("include/ramet/plan.h", "core/blocks.h", "no private one"),
        ("include/ramet/clone.h", "torch/torch.h", "10 s"),
        ("include/ramet/clone.h", "Python.h", "no Python"),
        ("src/nn/walk.cpp", "pybind11/pybind11.h", "no Python"),
        ("src/nn/walk.cpp", "torch/extension.h", "no Python"),
        ("src/nn/walk.cpp", "python/walk.h", "nn does not know python"),
        ("src/python/walk.cpp", "ramet/clone.h", "python does not know nn"),
        ("src/python/walk.cpp", "torch/nn/module.h", "no torch::nn"),
    ],
)
def test_a_wrong_include_is_found(file, include, reason):
    assert reason in (violation(file, include) or "")


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("src/core/plan.cpp", "ramet/plan.h"),
        ("src/core/plan.cpp", "core/blocks.h"),
        ("src/core/materialize.cpp", "ramet/plan.h"),
        ("src/core/arena.cpp", "ATen/ops/empty.h"),
        ("include/ramet/plan.h", "ramet/catalog.h"),
        ("include/ramet/clone.h", "torch/nn/module.h"),
        ("include/ramet/clone.h", "ramet/plan.h"),
        ("src/nn/walk.cpp", "torch/torch.h"),
        ("src/nn/walk.cpp", "nn/walk.h"),
        ("src/python/walk.cpp", "torch/csrc/autograd/python_variable.h"),
        ("src/python/walk.cpp", "ramet/materialize.h"),
    ],
)
def test_a_right_include_passes(file, include):
    assert violation(file, include) is None


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
def test_the_cpp_library_uses_no_symbol_of_python():
    import ramet._C

    library = Path(ramet._C.__file__).with_name("libramet.so")
    symbols = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", "--format=posix", library], check=True, capture_output=True, text=True
    ).stdout
    names = [line.split()[0] for line in symbols.splitlines()]
    assert any("at" in name for name in names)
    assert [name for name in names if re.match(r"_?Py[A-Z_]|THP|_ZN?K?\d*8pybind11", name)] == []
