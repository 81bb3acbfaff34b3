"""What ran when, row by row: the layout of a record's timeline, its levels of detail and its tiles of events."""

from profkit.analysis.timeline.layout import timeline
from profkit.analysis.timeline.model import CLASSES, Group, Row, Timeline, TrackKind
from profkit.analysis.timeline.strips import STEP, bin_edges, covered, first_bins, levels, strips
from profkit.analysis.timeline.tiles import Details, Tile, details, tile

__all__ = [
    "CLASSES",
    "STEP",
    "Details",
    "Group",
    "Row",
    "Tile",
    "Timeline",
    "TrackKind",
    "bin_edges",
    "covered",
    "details",
    "first_bins",
    "levels",
    "strips",
    "tile",
    "timeline",
]
