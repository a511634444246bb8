"""Bar charts as SVG."""

import math
from xml.sax.saxutils import escape

ROW, LEFT, WIDTH, RIGHT, TOP = 26, 330, 420, 110, 46
COLOURS = {"corral": "#2f6f4f", "floor": "#9aa0a6", "peer": "#5b7db1"}


def is_own(series):
    """Whether Corral was measured, or something beside it."""
    return "corral" in series["label"].lower()


def colour(series, floors):
    if series["name"] in floors:
        return COLOURS["floor"]
    return COLOURS["corral"] if is_own(series) else COLOURS["peer"]


def bars(title, chosen):
    """One bar a series up to its p50, and a line on to its p99; a logarithmic scale where they are far apart."""
    values = [series["summary"]["p50"] for series in chosen]
    most = max(max(series["summary"]["p99"], series["summary"]["p50"]) for series in chosen)
    # Differences of memory may be nothing, or less.
    logarithmic = min(values) > 0 and most / min(values) > 50
    least = 10 ** math.floor(math.log10(min(values))) if logarithmic else 0

    def position(value):
        if logarithmic:
            return WIDTH * math.log(max(value, least) / least) / math.log(most / least)
        return WIDTH * max(value, 0) / most if most > 0 else 0

    floors = {series.get("floor") for series in chosen}
    unit = chosen[0]["unit"] + (", logarithmic" if logarithmic else "")
    height = TOP + ROW * len(chosen) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
        f'<text x="10" y="36" fill="#666666">{escape(unit)}; bar: median, line: 99th percentile</text>',
    ]
    for index, series in enumerate(chosen):
        summary, y = series["summary"], TOP + ROW * index
        end = position(summary["p50"])
        parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(series["label"])}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y + 3}" width="{max(end, 1):.1f}" height="16" fill="{colour(series, floors)}"/>')
        far = position(summary["p99"])
        if far > end:
            parts.append(f'<path d="M{LEFT + end:.1f} {y + 11}H{LEFT + far:.1f}" stroke="#333333"/>')
        value = summary["p50"]
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        parts.append(f'<text x="{LEFT + max(end, far) + 6:.1f}" y="{y + 15}">{shown}</text>')
    return "\n".join(parts) + "\n</svg>\n"
