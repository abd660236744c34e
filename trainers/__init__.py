"""What learns: rollout, batch, signals, credit, losses, step."""

if __name__ != "turngym.trainers":
    raise ImportError("import turngym.trainers, not trainers: the checkout root is on sys.path")
