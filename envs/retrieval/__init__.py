"""Finding passages: one interface over BM25, vectors, their mixture and remote search servers."""
