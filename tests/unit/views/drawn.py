"""What is written on a matplotlib figure, and where."""

import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

TOUCH = 1.0  # pixels that two boxes may share: letters do not fill theirs


def boxes(drawn):
    """Text that is seen, with its box in pixels."""
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    renderer = canvas.get_renderer()
    unseen = {label for axes in drawn.axes for axis in (axes.xaxis, axes.yaxis) for label in outside(axis)}
    hidden = {
        text
        for axes in drawn.axes
        if not axes.axison
        for axis in (axes.xaxis, axes.yaxis)
        for text in axis.findobj(Text)
    }
    texts = [text for text in drawn.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t not in unseen and t not in hidden]


def outside(axis):
    """Labels of ticks beyond the axis' limits: they exist and are not drawn."""
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]


def overlaps(found):
    """Pairs of texts that lie on each other."""
    return [
        (text, other)
        for (text, box), (other, other_box) in itertools.combinations(found, 2)
        if _overlap(box, other_box)
    ]


def beyond(drawn, found):
    """Texts that leave the page."""
    page = drawn.bbox
    return [
        text
        for text, box in found
        if min(box.x0, box.y0) < -TOUCH or box.x1 > page.x1 + TOUCH or box.y1 > page.y1 + TOUCH
    ]


def _overlap(one, other):
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    along = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across > TOUCH and along > TOUCH
