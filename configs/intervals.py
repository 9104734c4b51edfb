"""A chart of means with their intervals: blocks one under the other, in each panels side by side, in each a row for each thing compared."""

from dataclasses import dataclass

#: Pixels of a row, of a panel, between panels; of a block beside its rows.
ROW, PANEL, GAP, AROUND = 20, 170, 24, 70
#: Pixels of the names' column at the least, and of a letter of a name.
NAMES, LETTER = 180, 6.8
GREY, BLUE = "#888888", "#0072b2"


@dataclass
class Interval:
    """A mean and half of its interval, in points, and where it stands."""

    panel: str
    row: str
    mean: float
    half: float
    colour: str


def chart(blocks, reach, under):
    """An SVG of blocks, title -> intervals; panels reach from one number of points to another, and what is beyond ends there."""
    parts, top, n_panels = [], 0, 1
    left = width_of_names(one.row for intervals in blocks.values() for one in intervals)
    for title, intervals in blocks.items():
        panels = list(dict.fromkeys(one.panel for one in intervals))
        n_rows = len({one.row for one in intervals})
        parts += block(title, intervals, panels, reach, (left, top))
        top += AROUND + ROW * n_rows
        n_panels = max(n_panels, len(panels))
    width, height = left + n_panels * (PANEL + GAP), top + 20
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    end = f'<text x="8" y="{top + 10}" fill="#666">{under}</text>'
    return "\n".join([begin, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, end, "</svg>", ""])


def width_of_names(names):
    longest = max(len(name) for name in names)
    return max(NAMES, round(LETTER * longest) + 20)


def block(title, intervals, panels, reach, corner):
    left, top = corner
    names = list(dict.fromkeys(one.row for one in intervals))
    parts = [f'<text x="8" y="{top + 16}" font-weight="bold">{title}</text>']
    for i, name in enumerate(names):
        parts.append(f'<text x="{left - 10}" y="{top + 44 + ROW * i}" text-anchor="end">{name}</text>')
    for place, name in enumerate(panels):
        of_panel = [one for one in intervals if one.panel == name]
        parts += panel(name, of_panel, names, reach, (left + place * (PANEL + GAP), top))
    return parts


def panel(title, intervals, names, reach, corner):
    (low, high), (left, top) = reach, corner
    bottom = top + 50 + ROW * len(names)
    across = lambda points: left + PANEL * (min(max(points, low), high) - low) / (high - low)
    parts = [
        f'<text x="{left + PANEL / 2:.0f}" y="{top + 16}" text-anchor="middle" font-weight="bold">{title}</text>',
        f'<line x1="{across(0):.1f}" x2="{across(0):.1f}" y1="{top + 26}" y2="{bottom - 14}" stroke="#999" stroke-dasharray="3 3"/>',
    ]
    for points in marks(low, high):
        parts.append(f'<text x="{across(points):.1f}" y="{bottom}" text-anchor="middle" fill="#666">{points}</text>')
    for one in intervals:
        y, colour = top + 40 + ROW * names.index(one.row), one.colour
        x, begin, end = (across(points) for points in (one.mean, one.mean - one.half, one.mean + one.half))
        parts.append(f'<line x1="{begin:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{colour}"/>')
    return parts


def marks(low, high):
    """Whole numbers between two points, 0 among them, about six."""
    step = max(1, round((high - low) / 6))
    return range(-step * int(-low // step), int(high) + 1, step)
