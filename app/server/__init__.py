"""The web server: who is let in, what is served before and beside the pages, how it starts and ends."""
