"""TRL 1.16's environment loop: python driver_trl.py URL EPISODES TURNS. Prints one line of JSON.

Generation is replaced by fixed token ids, so nothing travels: what is counted is TRL's own work
between generations (parsing, tool calls, prompts of the next turn). The URL is not used.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import trl
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
CALL = '<tool_call>\n{"name": "say", "arguments": {"text": "guess fifty"}}\n</tool_call><|im_end|>'


class Counter:
    """Says the number of the turn."""

    told: list[list[str]] = []

    def reset(self, **_):
        self.turn = 0
        self.shown = ["obs 0: start"]
        Counter.told.append(self.shown)

    def say(self, text: str) -> str:
        """Say something.

        Args:
            text: What to say.
        """
        self.turn += 1
        self.shown.append(f"obs {self.turn}: ok")
        return self.shown[-1]


class Done(Exception):
    """Generation is over; scoring is not measured."""


def make_trainer(folder: str, episodes: int, turns: int) -> GRPOTrainer:
    """A trainer of a tiny random model with TRL's own chat template for Qwen3."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(ROOT / "agents/tiny/tokenizer.json"),
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
    )
    templates = Path(trl.__file__).parent / "chat_templates"
    tokenizer.chat_template = (templates / "qwen3.jinja").read_text()
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=2, **shape))
    config = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        report_to=[],
        per_device_train_batch_size=episodes,
        num_generations=8,
        max_completion_length=100_000,
        max_tool_calling_iterations=turns - 1,
        bf16=False,
    )
    prompt = [{"role": "user", "content": "obs 0: start"}]
    return GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": prompt}] * episodes),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        environment_factory=Counter,
    )


def main(episodes: int, turns: int) -> None:
    """Warm up, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, episodes, turns)
        ids = trainer.processing_class.encode(CALL, add_special_tokens=False)
        calls = []

        def generated(prompt_ids, *_, **__):
            calls.append(len(prompt_ids))
            return [list(ids) for _ in prompt_ids], [[-0.5] * len(ids) for _ in prompt_ids]

        trainer._generate_single_turn = generated
        generate, rounds = trainer._generate, []

        def timed(prompts):
            wall, cpu = time.perf_counter(), time.process_time()
            generate(prompts)
            rounds.append((time.process_time() - cpu, time.perf_counter() - wall))
            raise Done

        trainer._generate = timed
        inputs = [
            {"prompt": [{"role": "user", "content": "obs 0: start"}]} for _ in range(episodes)
        ]
        for _ in range(ROUNDS):
            Counter.told.clear()
            calls.clear()
            try:
                trainer._generate_and_score_completions(inputs)
            except Done:
                pass
    assert calls == [episodes] * turns, calls
    told = [shown[:turns] for shown in Counter.told]
    cpu, wall = min(rounds)
    count = episodes * turns
    figures = {
        "turns": count,
        "cpu_ms_per_turn": cpu / count * 1e3,
        "turns_per_s": count / wall,
        "max_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "observations": hashlib.sha256(json.dumps(told).encode()).hexdigest(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[2]), int(sys.argv[3]))
