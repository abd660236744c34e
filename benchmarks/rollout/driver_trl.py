"""TRL 1.16's environment loop: python driver_trl.py URL EPISODES TURNS MODE. Prints one line of JSON.

`stubbed`: fixed token ids stand for generation and nothing travels; what is counted is TRL's own
work between generations (parsing, tool calls, prompts of the next turn). `http`: its own vLLM client
asks the stub, one request for all episodes of a turn. Scoring is not counted.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import trl
from datasets import Dataset
from scenario import CALL, REPLY_IDS, START, Stopwatch, report, said
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_client import VLLMClient

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 9


class Counter:
    """Says the number of the turn."""

    told: list[list[str]] = []

    def reset(self, **_):
        self.turn = 0
        self.shown = [START]
        Counter.told.append(self.shown)

    def say(self, text: str) -> str:
        """Say something.

        Args:
            text: What to say.
        """
        self.turn += 1
        self.shown.append(said(self.turn))
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
    assert tokenizer.encode(CALL + "<|im_end|>", add_special_tokens=False) == REPLY_IDS
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
    prompt = [{"role": "user", "content": START}]
    return GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": prompt}] * episodes),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        environment_factory=Counter,
    )


def make_client(url: str) -> VLLMClient:
    """TRL's client without the handshakes of a server that also takes weights."""
    import requests

    client = object.__new__(VLLMClient)
    client.session, client.model = requests.Session(), "stub"
    client.base_url = url.replace("/v1", "/tools")
    return client


def main(url: str, episodes: int, turns: int, mode: str) -> None:
    """Warm up, then measure."""
    calls: list[int] = []

    def stubbed(prompt_ids, *_, **__):
        calls.append(len(prompt_ids))
        ids = [list(REPLY_IDS) for _ in prompt_ids]
        return ids, [[-0.5] * len(REPLY_IDS) for _ in prompt_ids]

    def asked(prompt_ids, *_, **__):
        # What GRPOTrainer._generate_single_turn does with use_vllm, less the exchange of weights.
        calls.append(len(prompt_ids))
        found = client.generate(prompts=prompt_ids, max_tokens=64, logprobs=0)
        assert all(ids == REPLY_IDS for ids in found["completion_ids"])
        return found["completion_ids"], [[top[0] for top in seq] for seq in found["logprobs"]]

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, episodes, turns)
        client = make_client(url) if mode == "http" else None
        trainer._generate_single_turn = stubbed if client is None else asked
        generate = trainer._generate

        def timed(prompts):
            watch = Stopwatch()
            generate(prompts)
            rounds.append(watch.read())
            raise Done

        trainer._generate = timed
        inputs = [{"prompt": [{"role": "user", "content": START}]} for _ in range(episodes)]
        for _ in range(ROUNDS + 1):
            Counter.told.clear()
            calls.clear()
            try:
                trainer._generate_and_score_completions(inputs)
            except Done:
                pass
            assert calls == [episodes] * turns, calls
    replies = len(rounds) * episodes * turns if client is not None else 0
    versions = {name: version(name) for name in ("trl", "transformers", "torch")}
    report(rounds[1:], Counter.told, turns=turns, replies=replies, versions=versions)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
