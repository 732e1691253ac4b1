"""What an example program claims: printed, checked, counted. The program exits with 1 if a claim does not hold."""

from __future__ import annotations


class Claims:
    """Collects the claims of one program."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, claim: str, holds: bool) -> None:
        """Prints a claim and whether it holds."""
        print(f"  {'ok  ' if holds else 'FAIL'} {claim}", flush=True)
        self.failed += not holds

    def exit_code(self) -> int:
        """Prints the sum of it; gives 0 if every claim held."""
        print("every claim holds" if self.failed == 0 else f"{self.failed} claims do not hold")
        return 0 if self.failed == 0 else 1
