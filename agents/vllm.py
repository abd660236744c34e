"""A vLLM engine in process as an agent: continuous batching over all episodes, prefixes kept between
turns, exact ids and log-probabilities, and new weights from the trainer while it runs.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from turngym.agents.parse import parse_hermes
from turngym.agents.tokens import TokenChat
from turngym.agents.vllm_engine import Engine
from turngym.agents.vllm_ipc import send_weights
from turngym.errors import ConfigError
from turngym.types import Completion, Context, Message, Sampling

__all__ = ["VLLMAgent"]

Transfer = Literal["files", "cuda_ipc"]


class VLLMAgent:
    """Samples from a vLLM engine in this process's keeping. May be asked from several event loops.

    Log-probabilities are left out where top-p or top-k cut the distribution: vLLM would give those
    of what remains, and a trainer computes those of the whole.

    Args:
        model: folder or name of a Hugging Face model.
        tokenizer: with a chat template; None: the model's own.
        seeded: sample each turn with its own seed, which is slower: vLLM then draws row by row. The
            same seed in another batch may still give slightly other numbers, and so another reply.
            vLLM 0.32 on a CPU dies of it when a prompt is read in several pieces.
        transfer: how `load` brings weights to the engine: `files` in main memory (/dev/shm), or
            `cuda_ipc` on the same GPU (untested until a GPU runs it).
        parse: reply text to Message.
        options: for `Engine`: `max_restarts`, `timeout_s`, and fields of vLLM's AsyncEngineArgs such
            as `max_model_len`, `gpu_memory_utilization`, `enable_lora`, `dtype`.

    Example:
        >>> VLLMAgent("Qwen/Qwen3-4B", max_model_len=8192)
    """

    def __init__(
        self,
        model: str | Path,
        tokenizer: Any = None,
        *,
        seeded: bool = False,
        transfer: Transfer = "files",
        parse: Callable[[str], Message] = parse_hermes,
        **options: Any,
    ) -> None:
        if tokenizer is None:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(model)
        if transfer == "cuda_ipc":
            options.setdefault("weight_transfer_config", {"backend": "ipc"})
        self.tokenizer, self.seeded, self._transfer = tokenizer, seeded, transfer
        self._folder: Path | None = None
        self.engine = Engine(model, **options)
        self._chat = TokenChat(tokenizer, self.engine.limit, parse=parse)
        self._stop_ids = sorted(self._chat.stop_ids)

    @property
    def version(self) -> int:
        """Of the weights that the next reply is sampled from."""
        return self.engine.version

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """A sampled reply with its ids and log-probabilities.

        Raises:
            ContextOverflow: the prompt leaves no room for a reply.
            InfraFailure, InfraTimeout: see `Engine.generate`.
        """
        began = time.perf_counter()
        request = self._chat.request(context, sampling)
        sampled = await self.engine.generate(
            request.ids,
            replace(sampling, max_new_tokens=request.max_new_tokens),
            stop_ids=self._stop_ids,
            seed=seed if self.seeded else None,
        )
        if sampling.top_p < 1 or sampling.top_k:
            sampled = replace(sampled, logprobs=sampled.logprobs[:0])
        return self._chat.completion(request, sampled, sampling, time.perf_counter() - began)

    def load(self, model: Any, version: int) -> None:
        """Sample from the weights of `model` from now on: a transformers model, or one with PEFT
        adapters, of which only the adapters travel."""
        adapted = hasattr(model, "peft_config")
        if self._transfer == "cuda_ipc" and not adapted:
            self.engine.change(lambda llm: asyncio.to_thread(send_weights, llm, model), version)
            return
        memory = Path("/dev/shm")
        folder = Path(
            tempfile.mkdtemp(prefix="turngym-weights-", dir=memory if memory.is_dir() else None)
        )
        model.save_pretrained(folder)
        if adapted:
            self.load_lora(folder, version)
        else:
            self.engine.reload(folder, version)
        self._replace_folder(folder)

    def load_lora(self, folder: str | Path, version: int) -> None:
        """Sample with the adapter in `folder`, as PEFT saves it, from now on.

        Raises:
            ConfigError: there is no adapter, or the engine was started without `enable_lora=True`.
        """
        if not (Path(folder) / "adapter_config.json").exists():
            raise ConfigError(
                f"no adapter in {folder}: expected adapter_config.json as PEFT saves it"
            )
        self.engine.use_lora(Path(folder), version)

    def close(self) -> None:
        """End the engine and forget the weights."""
        self.engine.close()
        self._replace_folder(None)

    def _replace_folder(self, folder: Path | None) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = folder
