"""What answers: scripted agents, models and endpoints."""

if __name__ != "turngym.agents":
    raise ImportError("import turngym.agents, not agents: the checkout root is on sys.path")
