"""Runs every test, C++ (ctest) and Python (pytest, doctests), and prints the total on the last line."""

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count(report: Path) -> tuple[int, int, int]:
    """Returns (passed, failed, skipped) of a JUnit report; a report that was not written counts as one failure."""
    if not report.exists():
        return 0, 1, 0
    passed = failed = skipped = 0
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main() -> int:
    """Runs both suites whatever the first one gives; fails if a test failed, a runner failed, or no test ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, help="the CMake build tree")
    build = parser.parse_args().build
    with tempfile.TemporaryDirectory() as folder:
        suites = {
            "ctest": ["ctest", "--test-dir", build, "--output-on-failure", "--progress", "-j2", "--output-junit"],
            "pytest": [sys.executable, "-m", "pytest", "--junit-xml"],
        }
        total = [0, 0, 0]
        for name, command in suites.items():
            report = Path(folder, f"{name}.xml")
            code = subprocess.run([*command, str(report)]).returncode
            counts = list(count(report))
            if sum(counts) == 0 or (code != 0 and counts[1] == 0):
                print(f"{name} failed with exit status {code} and no failed test", flush=True)
                counts[1] += 1
            total = [a + b for a, b in zip(total, counts, strict=True)]
    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
