"""Runs every test, C++ (ctest) and Python (pytest, doctests), and prints the total on the last line.

A suite that fails without a failed test to show for it (a crash, a timeout, a file that does not import) or that ran no
test at all counts as one failure more.
"""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def outcome(case: ElementTree.Element) -> str:
    """Returns "passed", "failed" or "skipped" for a test case of pytest's or GoogleTest's report."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if case.find("skipped") is not None or case.get("status") == "notrun":
        return "skipped"
    return "passed"


def run(name: str, command: list[str], reports: Path, environment: dict[str, str]) -> collections.Counter[str]:
    """Runs one suite and counts the outcomes in the reports that it left in the folder `reports`."""
    print(f"== {name}", flush=True)
    code = subprocess.run(command, env={**os.environ, **environment}).returncode
    cases = [case for file in reports.glob("*.xml") for case in ElementTree.parse(file).iter("testcase")]
    counts = collections.Counter(outcome(case) for case in cases)
    if code != 0 and counts["failed"] == 0:
        print(f"{name} ended with status {code}, but no test of it is reported as failed", flush=True)
        counts["failed"] += 1
    elif counts["passed"] + counts["failed"] == 0:
        print(f"{name} ran no test", flush=True)
        counts["failed"] += 1
    return counts


def main() -> int:
    """Runs both suites, whatever the first one gives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="the CMake build tree")
    build = parser.parse_args().build
    with tempfile.TemporaryDirectory() as folder:
        cpp, python = Path(folder, "cpp"), Path(folder, "python")
        cpp.mkdir()
        python.mkdir()
        ctest = ["ctest", "--test-dir", build, "--output-on-failure", f"-j{os.cpu_count()}"]
        pytest = [sys.executable, "-m", "pytest", f"--junit-xml={python / 'pytest.xml'}"]
        total = run("C++", ctest, cpp, {"GTEST_OUTPUT": f"xml:{cpp}/"})
        total += run("Python", pytest, python, {})
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"{total['passed']} passed, {total['failed']} failed{skipped}")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
