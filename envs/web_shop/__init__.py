"""A web shop: search, open products, choose options, buy what the instruction asks for."""
