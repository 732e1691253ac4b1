"""Runs every test, C++ (ctest) and Python (pytest, doctests), and prints the total on the last line.

What fails without a failed test to show for it (a program that crashes or hangs, a file that does not import, a suite
that runs no test) counts as one failure.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def cases(report: Path) -> list[ElementTree.Element]:
    """Returns the test cases of a JUnit report; none if it was not written, or not to its end."""
    try:
        return list(ElementTree.parse(report).iter("testcase"))
    except (FileNotFoundError, ElementTree.ParseError):
        return []


def count(report: Path) -> collections.Counter[str]:
    """Counts "passed", "failed" and "skipped" in a report of pytest's or GoogleTest's."""
    counts: collections.Counter[str] = collections.Counter()
    for case in cases(report):
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            counts["skipped"] += 1
        else:
            counts["passed"] += 1
    return counts


def settled(counts: collections.Counter[str], name: str, succeeded: bool) -> collections.Counter[str]:
    """Adds the failure of `name` as a whole where none of its tests accounts for it."""
    if not succeeded and counts["failed"] == 0:
        print(f"{name} failed as a whole: no failed test of it is reported", flush=True)
        counts["failed"] += 1
    elif not counts:
        print(f"{name} ran no test", flush=True)
        counts["failed"] += 1
    return counts


def whole(preset: str) -> set[str]:
    """Names the entries of ctest that are one test each: labelled so, they write no report of their own."""
    command = ["ctest", "--preset", preset, "--show-only=json-v1", "-L", "^whole$"]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {entry["name"] for entry in json.loads(shown)["tests"]}


def run_cpp(preset: str, folder: Path) -> collections.Counter[str]:
    """Runs ctest: it reports on each of its entries, and an entry that is a program of many tests on these."""
    summary = folder / "ctest.xml"
    command = ["ctest", "--preset", preset, f"-j{os.cpu_count()}", "--output-junit", summary]
    code = subprocess.run(command, env={**os.environ, "GTEST_OUTPUT": f"xml:{folder}/"}).returncode
    total: collections.Counter[str] = collections.Counter()
    one_test = whole(preset)
    for entry in cases(summary):
        name, succeeded = entry.get("name", ""), entry.get("status") == "run"
        if name in one_test:
            total["passed" if succeeded else "failed"] += 1
        else:
            total += settled(count(folder / f"{name}.xml"), name, succeeded)
    return settled(total, "ctest", code == 0)


def run_python(folder: Path, slow: bool) -> collections.Counter[str]:
    """Runs pytest: the tests of Python, the layers of the sources, and the examples in docstrings and pages."""
    report = folder / "pytest.xml"
    which = ["-m", ""] if slow else []
    code = subprocess.run([sys.executable, "-m", "pytest", f"--junit-xml={report}", *which]).returncode
    return settled(count(report), "pytest", code == 0)


def main() -> int:
    """Runs both suites, whatever the first one gives, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", required=True, help="a test preset of CMakePresets.json")
    parser.add_argument("--cpp", action="store_true", help="the C++ tests only")
    parser.add_argument("--all", action="store_true", help="the tests marked slow, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        total = run_cpp(given.preset, Path(folder))
        if not given.cpp:
            total += run_python(Path(folder), given.all)
    if total["skipped"]:
        print(f"{total['skipped']} skipped: what this machine lacks, a CUDA device say")
    print(f"{total['passed']} passed, {total['failed']} failed")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
