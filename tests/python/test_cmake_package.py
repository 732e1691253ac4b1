"""What C++ projects find in the package: its headers, and a find_package that says what is wrong."""

import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

import ramet

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(ramet.cmake_prefix_path).parents[1]
TORCH_VERSION = re.match(r"\d+\.\d+", torch.__version__).group()


def configure(folder: Path, *definitions: str, wanted: str = "") -> str:
    """Configures a project that looks for ramet, and returns all that CMake says."""
    project = "cmake_minimum_required(VERSION 3.25)\nproject(consumer CXX)\n"
    (folder / "CMakeLists.txt").write_text(project + f"find_package(ramet {wanted} CONFIG REQUIRED)\n")
    command = ["cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={ramet.cmake_prefix_path}"]
    made = subprocess.run([*command, *definitions], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return " ".join(made.stdout.split())


def torch_of(folder: Path, version: str) -> Path:
    """Makes what can be seen of a LibTorch without using it, and returns its folder of CMake files."""
    cmake = folder / "share/cmake/Torch"
    cmake.mkdir(parents=True)
    (cmake / "TorchConfigVersion.cmake").write_text(f'set(PACKAGE_VERSION "{version}")\n')
    (folder / "lib").mkdir()
    (folder / "lib/libtorch_cpu.so").touch()
    return cmake


def test_the_package_holds_the_public_headers():
    held = {file.name: file.read_text() for file in (PACKAGE / "include/ramet").iterdir()}
    assert held == {file.name: file.read_text() for file in (ROOT / "include/ramet").iterdir()}


def test_the_package_and_the_library_have_one_version(tmp_path):
    version = metadata.version("ramet")
    assert "Configuring done" in configure(tmp_path, wanted=f"{version} EXACT")
    assert f"ramet-config.cmake, version: {version}" in configure(tmp_path, wanted="99")


def test_a_consumer_gets_the_torch_beside_the_package(tmp_path):
    assert f"LibTorch {TORCH_VERSION}: {Path(torch.__file__).parent}" in configure(tmp_path)


@pytest.mark.parametrize("how", ["Torch_DIR", "CMAKE_PREFIX_PATH"])
def test_a_consumer_gets_the_torch_that_it_names(tmp_path, how):
    cmake = torch_of(tmp_path / "libtorch", f"{TORCH_VERSION}.7")
    names = {"Torch_DIR": cmake, "CMAKE_PREFIX_PATH": f"{tmp_path}/libtorch;{ramet.cmake_prefix_path}"}
    assert f"LibTorch {TORCH_VERSION}: {tmp_path}/libtorch" in configure(tmp_path, f"-D{how}={names[how]}")


def test_a_torch_of_another_version_is_an_error_that_names_both(tmp_path):
    cmake = torch_of(tmp_path / "libtorch", "1.13.1")
    assert (
        f"ramet: built with LibTorch {TORCH_VERSION}, but '{tmp_path}/libtorch' is 1.13: build ramet with that one, or "
        f"set Torch_DIR to a LibTorch {TORCH_VERSION}" in configure(tmp_path, f"-DTorch_DIR={cmake}")
    )


def test_a_torch_that_is_not_there_is_an_error_that_says_how_to_name_one(tmp_path):
    cmake = torch_of(tmp_path / "libtorch", TORCH_VERSION)
    (tmp_path / "libtorch/lib/libtorch_cpu.so").unlink()
    assert (
        f"ramet: no LibTorch in '{tmp_path}/libtorch': set Torch_DIR or CMAKE_PREFIX_PATH to one's, or "
        "Python_EXECUTABLE to an interpreter that has the package torch" in configure(tmp_path, f"-DTorch_DIR={cmake}")
    )
