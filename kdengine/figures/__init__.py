"""Plotly figures. They know arrays and plain events only; Plotly is imported when a figure is drawn."""
