"""A process that trains in forks of itself, so that killing a run costs no import of torch.

    python tests/killable.py MODEL_FOLDER       then one JSON job a line on stdin

A job names the run and says when to kill it: after so many seconds, or at the n-th change that the
run makes to the file system (before it happens). The answer, a line of JSON, says how the run ended.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import turngym
from turngym import TextEnv
from turngym.agents.tiny import tiny_tokenizer
from turngym.trainers.config import TrainConfig
from turngym.trainers.train import train
from turngym.types import user

METHODS = {
    "grpo": {"credit": {"method": "grpo"}, "loss": {"kl_coef": 0.01}},
    "oprl": {
        "credit": {"method": "oprl"},
        "signals": {"implicit_reward": {"learning_rate": 1e-2}},
    },
    "ppo": {
        "credit": {"method": "gae_token"},
        "signals": {"values": {"learning_rate": 1e-2}},
        "epochs": 2,
        "mini_batches": 2,
    },
    "ahead": {  # plays one step ahead of the optimizer, in another thread
        "credit": {"method": "grpo"},
        "rollout": {"concurrency": 4, "max_staleness": 1},
    },
    "noisy": {  # draws from the global generators in the update
        "credit": {"method": "grpo"},
        "signals": {"dice": {}},
    },
}
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}


class Even(TextEnv):
    """Two turns; the outcome is the share of replies of even length."""

    max_turns = 2

    def reset(self, *, seed=None, options=None):
        self.good = 0
        return (user(f"say {int(self.np_random.integers(5))}"),), {}

    def step(self, action):
        even = len(action.content.encode()) % 2 == 0
        self.good += even
        info = {"outcome": self.good / 2, "turn_reward": float(even)}
        return (user(f"again {int(self.np_random.integers(5))}"),), 0.0, False, False, info


turngym.register("test/Even-v0", Even)


def register_dice() -> None:
    """A stranger's signal that draws from the global generators, as dropout does."""
    import random

    import numpy as np
    import torch

    from turngym.trainers.signals import Columns, Signal, signal
    from turngym.trainers.signals.signal import NoSettings

    @signal("dice")
    class Dice(Signal[NoSettings]):
        settings = NoSettings

        def columns(self, trajectories, batch, models):
            drawn = float(torch.rand(())) + random.random() + float(np.random.rand())
            return Columns(metrics={"drawn": drawn})


def settings(model: str, method: str) -> TrainConfig:
    """A run of a second or less."""
    return TrainConfig.model_validate(
        {
            "env": {"id": "test/Even-v0"},
            "policy": {"path": model},
            "rollout": {"concurrency": 4},
            "sampling": {"max_new_tokens": 3},
            "evaluation": {"episodes": 2, "every": 2, "temperatures": [1.0]},
            "optimizer": {"learning_rate": 1e-2, "schedule": "cosine", "warmup_steps": 1},
            "steps": 5,
            "groups_per_step": 2,
            "group_size": 3,
            "checkpoint_every": 2,
            **METHODS[method],
        }
    )


def tiny_weights(folder: Path) -> Path:
    """A random policy with some thousand parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def watch_changes(folder: Path, kill_at: int) -> list[int]:
    """Count this process's changes under `folder` in the list's only item; die before the n-th."""
    counted = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
        if not (writes or event in CHANGES) or str(folder) not in str(arguments[0]):
            return
        counted[0] += 1
        if counted[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return counted


def work(model: str, job: dict) -> None:
    """The child: trains, resuming what is there; never returns."""
    folder = Path(job["folder"])
    counted = watch_changes(folder, job.get("kill_at", 0))
    began = time.perf_counter()
    resume = (folder / "config.json").exists()
    train(settings(model, job["method"]), folder, resume=resume, report=lambda _: None)
    facts = {"changes": counted[0], "seconds": time.perf_counter() - began}
    folder.with_suffix(".facts").write_text(json.dumps(facts))
    os._exit(0)


def main(model: str) -> None:
    """Answer jobs until stdin ends."""
    from turngym.agents.load import load_model

    load_model(model)  # imports the architecture before the first fork, so that none pays for it
    register_dice()
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                work(model, job)
            finally:
                sys.stderr.flush()
                os._exit(1)
        if "kill_after" in job:
            time.sleep(job["kill_after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
