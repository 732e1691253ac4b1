"""The C++ of docs/rules.md is compiled and run: it stands in a test, line by line."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def lines(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines()]


def test_the_cpp_of_the_rules_stands_in_its_test():
    tested = "\n".join(lines((ROOT / "tests/cpp/nn_rules_doc_test.cpp").read_text()))
    blocks = re.findall(r"^```cpp\n(.*?)^```$", (ROOT / "docs/rules.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    assert [block for block in blocks if "\n".join(lines(block)) not in tested] == []
