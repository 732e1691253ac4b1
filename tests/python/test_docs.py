"""The C++ of the pages is compiled and run: it stands in a test, line by line. Errors are quoted as they are."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"docs/rules.md": "nn_rules_doc_test.cpp", "docs/cpp.md": "nn_cpp_doc_test.cpp"}


def lines(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines()]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def joined(literals: str) -> str:
    return re.sub(r'"\s*"', "", literals)


@pytest.mark.parametrize("page", PAGES)
def test_the_cpp_of_a_page_stands_in_its_test(page: str):
    tested = "\n".join(lines((ROOT / "tests/cpp" / PAGES[page]).read_text()))
    shown = blocks(page, "cpp")
    assert shown
    assert [block for block in shown if "\n".join(lines(block)) not in tested] == []


def test_the_errors_of_the_cpp_page_are_those_that_there_are():
    tested = joined((ROOT / "tests/cpp/nn_cpp_doc_test.cpp").read_text())
    headers = "".join(header.read_text() for header in (ROOT / "include/ramet").glob("*.h"))
    guards = {joined(text)[1:-1] for text in re.findall(r'static_assert\([^;]*?,\s*("ramet: [^;]*?")\);', headers)}
    quoted = [" ".join(block.split()) for block in blocks("docs/cpp.md", "text")]
    assert guards == {error for error in quoted if error.startswith("ramet: ")}
    assert [error for error in quoted if error not in guards and f'"{error}"' not in tested] == []


def test_the_pictures_are_those_that_the_script_draws():
    pictures = runpy.run_path(str(ROOT / "docs/modes/draw.py"))["pictures"]()
    assert pictures == {file.name: file.read_text() for file in (ROOT / "docs/modes").glob("*.svg")}


def test_the_page_of_modes_shows_every_mode_with_its_picture():
    page = (ROOT / "docs/modes.md").read_text()
    titles = re.findall(r"^## (\w+)\n\n!\[[^\]]+\]\(modes/(\w+)\.svg\)$", page, re.MULTILINE)
    assert titles == [(mode, mode) for mode in re.findall(r"^\| \[(\w+)\]\(#", page, re.MULTILINE)]
    assert {mode for mode, _ in titles} == {file.stem for file in (ROOT / "docs/modes").glob("*.svg")}
