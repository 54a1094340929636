"""The dashboard: a page a file, drawn with Gradio. Pages read the job store, run folders and MLflow, and write requests."""
