"""Renderers: a record's analyses as text, HTML, figures and widgets."""
