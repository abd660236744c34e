"""What the tests of a real vLLM share: the tiny policy in fp32 on disk, and words for it."""

from turngym.agents.tiny import load_tiny
from turngym.types import Context, user

LIMIT = 256
HELLO = Context(episode="e", new=(user("Instruction: find red shoes"),))


def fp32_policy():
    """The tiny policy in fp32, its head tied to its embeddings."""
    return load_tiny("web_shop")[0].float().eval()


def saved(model, folder):
    """The folder, with the model and the tokenizer in it."""
    model.save_pretrained(folder)
    load_tiny("web_shop")[1].save_pretrained(folder)
    return folder
