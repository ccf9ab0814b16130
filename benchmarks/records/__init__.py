"""Records on disk, their schema and provenance, and the DataFrame that is made of them."""
