"""anywidget views: what is shown, sorted and zoomed in the browser. Import one where it is made."""
