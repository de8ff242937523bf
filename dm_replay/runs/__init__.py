"""Long jobs in a folder: recorded, resumable, shared by processes."""
