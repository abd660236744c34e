"""Where the agent acts: text environments with a Gymnasium interface."""

if __name__ != "turngym.envs":
    raise ImportError("import turngym.envs, not envs: the checkout root is on sys.path")
