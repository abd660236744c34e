"""Software-engineering tasks: rows, graders, sealed evaluation."""
