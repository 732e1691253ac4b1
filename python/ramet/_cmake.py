"""Where C++ projects find the library that the package holds."""

from pathlib import Path

from ramet import _C

# Beside the extension: of an editable install, the Python files lie elsewhere.
cmake_prefix_path = str(Path(_C.__file__).with_name("share") / "cmake")
