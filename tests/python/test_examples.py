"""The example programs: each checks what it claims, and exits with 1 if something does not hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/python"


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("hogwild", ["--workers", "2", "--steps", "250"]),
        ("skeleton", ["--layers", "2"]),
        ("maml", ["--iterations", "150"]),
        ("ensemble", ["--steps", "200"]),
    ],
    ids=["hogwild", "skeleton", "maml", "ensemble"],
)
def test_an_example_does_what_it_claims(name: str, small: list[str]) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *small]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("every claim holds\n")
    assert "FAIL" not in run.stdout
