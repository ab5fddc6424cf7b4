"""The table of what was tried and what came of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Row:
    """One kind of fault: ``lost`` has the cases in which work was lost, or the next start failed;
    ``silent`` those in which something was wrong without a word."""

    tried: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


class Table:
    """Rows by kind of fault."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = defaultdict(Row)

    def add(self, kind: str, case: str, *, lost: bool = False, silent: bool = False) -> None:
        """Count a case."""
        row = self.rows[kind]
        row.tried += 1
        row.survived += not (lost or silent)
        if lost:
            row.lost.append(case)
        if silent:
            row.silent.append(case)

    @property
    def is_clean(self) -> bool:
        """True if nothing was lost or silent."""
        return not any(row.lost or row.silent for row in self.rows.values())

    def __str__(self) -> str:
        head = f"{'fault':<44}{'tried':>7}{'survived':>10}{'lost':>6}{'silent':>8}"
        lines = [head, "-" * len(head)]
        for kind, row in self.rows.items():
            cells = f"{row.tried:>7}{row.survived:>10}{len(row.lost):>6}{len(row.silent):>8}"
            lines.append(f"{kind:<44}{cells}")
        for kind, row in self.rows.items():
            lines += [f"LOST {kind}: {case}" for case in row.lost]
            lines += [f"SILENT {kind}: {case}" for case in row.silent]
        return "\n".join(lines)


TABLE = Table()
"""The table of this process, which the tests and ``make faults`` fill and print."""
