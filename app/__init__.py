"""The dashboard: a page a file, drawn with Gradio. Pages read the job store and run folders, and write requests."""
