"""Bars of Unicode blocks for a terminal. Pure."""

from collections.abc import Sequence

EIGHTHS = " ▁▂▃▄▅▆▇█"
UNKNOWN = "·"


def bars(values: Sequence[int | None], height: int, width: int = 1) -> list[str]:
    """Lines of equal length, the top one first.

    Args:
        values: one bar each, none is negative. Zero is an empty bar; None is not known, and has a dot instead of a bar.
            However small, what is more than zero can be seen.
        height: lines.
        width: columns of a bar, with a gap after it if that is more than one.
    """
    highest = max((value for value in values if value), default=1)
    lines = []
    for line in range(height - 1, -1, -1):
        cells = (_cell(value, highest, line, height) for value in values)
        lines.append("".join(cell * max(1, width - 1) + " " * (width > 1) for cell in cells))
    return lines


def _cell(value: int | None, highest: int, line: int, height: int) -> str:
    if value is None:
        return UNKNOWN if line == 0 else " "
    eighths = max(round(8 * height * value / highest), 1) if value else 0
    return EIGHTHS[min(max(eighths - 8 * line, 0), 8)]
