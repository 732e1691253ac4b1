"""Runs clang-tidy on the sources: tidy.py BUILD, a build tree with compile_commands.json.

Most of its time goes into LibTorch's headers, so it is given a folder at a time: one unit that includes the folder's
sources. Sources that define one name twice come in units of their own. A unit that was clean is not read again until
its text, a header, the checks or the flags change.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["nn", "python", "core"]  # the slowest first
BROKEN = re.compile(r"^(\S+?):\d+:\d+: error: .*\[clang-diagnostic-error\]$", re.MULTILINE)


def flags_of(build: Path, source: Path) -> list[str]:
    """Returns the compiler's flags for `source`; without OpenMP, since clang-tidy comes without clang's omp.h."""
    commands = json.loads((build / "compile_commands.json").read_text())
    words = shlex.split(next(each["command"] for each in commands if each["file"] == str(source)))
    words = words[1 : words.index("-o")]
    return [word for word in words if word != "-fopenmp"] + ["-Wno-unknown-warning-option", "-ferror-limit=0"]


def tidy(unit: Path, sources: list[Path], flags: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Runs clang-tidy on `sources` as one file, `unit`."""
    unit.write_text("".join(f'#include "{source}"\n' for source in sources))
    command = ["clang-tidy", "--quiet", f"--config-file={ROOT}/.clang-tidy", *options, str(unit), "--", *flags]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def apart(unit: Path, sources: list[Path], flags: list[str]) -> list[list[Path]]:
    """Divides `sources` into lists that compile as one unit each, or are one source that does not compile."""
    found = []
    while sources:
        together, rest = sources, []
        while len(together) > 1:
            output = tidy(unit, together, flags, "--checks=-*,bugprone-suspicious-semicolon").stdout
            broken = {Path(name) for name in BROKEN.findall(output)} & set(together[1:])
            if not broken:
                break
            rest += [source for source in together if source in broken]
            together = [source for source in together if source not in broken]
        found.append(together)
        sources = sorted(rest)
    return found


def check(build: Path, folder: str) -> bool:
    """Checks one folder of src; prints what is found."""
    sources = sorted((ROOT / "src" / folder).glob("*.cpp"))
    flags = flags_of(build, sources[0])
    text = hashlib.sha256("\0".join(flags).encode())
    for path in [
        ROOT / ".clang-tidy",
        Path(__file__),
        *sources,
        *sorted(ROOT.glob("src/**/*.h")),
        *sorted(ROOT.glob("include/**/*.h")),
    ]:
        text.update(path.read_bytes())
    stamp = build / "tidy" / folder
    if stamp.exists() and stamp.read_text() == text.hexdigest():
        return True
    unit = stamp.with_suffix(".cpp")
    clean = True
    for together in apart(unit, sources, flags):
        run = tidy(unit, together, flags)
        print(run.stdout, end="", flush=True)
        clean = clean and run.returncode == 0
    if clean:
        stamp.write_text(text.hexdigest())
    return clean


def main() -> int:
    """Checks all folders, as many at a time as there are processors."""
    build = Path(sys.argv[1]).resolve()
    (build / "tidy").mkdir(exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        clean = list(pool.map(lambda folder: check(build, folder), FOLDERS))
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
