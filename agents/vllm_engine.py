"""One vLLM engine, looked after: weights changed while it runs, started again when it dies.

The engine runs in processes of its own. In this process one event loop, the bridge's, talks to it,
whichever thread or loop asks.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from turngym import bridge
from turngym.agents.tokens import Sampled
from turngym.errors import ConfigError, InfraFailure, InfraTimeout, MissingExtraError
from turngym.types import FinishReason, Sampling

__all__ = ["Engine"]

T = TypeVar("T")


class Engine:
    """Samples token ids. Every method but `generate` waits for its result and may be called from any
    thread but the bridge's.

    A reply is sampled from one version of the weights: a change waits for the replies under way
    and holds back new ones, and the cache of prefixes, made with the old weights, is dropped.

    A dead engine is started again with the newest weights, and asked once more for the replies that
    were under way.

    Args:
        model: folder or name, as vLLM takes it.
        max_restarts: in the life of this object.
        timeout_s: for one reply, or one change of weights.
        options: fields of vLLM's AsyncEngineArgs, such as `max_model_len` or `enable_lora`.

    Raises:
        MissingExtraError: vLLM is not installed.
        ConfigError: vLLM refuses the model or the options.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        max_restarts: int = 3,
        timeout_s: float = 500.0,
        **options: Any,
    ) -> None:
        self._options = {
            "model": str(model),
            "enable_prefix_caching": True,
            # Log-probabilities of what was sampled from, which is what a trainer computes too.
            "logprobs_mode": "processed_logprobs",
            "worker_extension_cls": "turngym.agents.vllm_worker.Worker",
            "disable_log_stats": True,
            **options,
        }
        self._timeout_s, self._restarts_left = timeout_s, max_restarts
        self.version = 0
        self._numbers = itertools.count(1)
        self._weights: Path | None = None
        self._lora: Any = None
        self._only_there = False
        """The weights are in the engine and nowhere on disk."""
        self._lost = False
        """It was started again without them."""
        self._awake = asyncio.Event()
        self._awake.set()
        self._busy, self._idle = 0, asyncio.Event()
        self._idle.set()
        self._changing, self._restarting = asyncio.Lock(), asyncio.Lock()
        self._llm: Any = _start(self._options)
        self.limit = int(self._llm.model_config.max_model_len)

    async def generate(
        self, ids: array[int], sampling: Sampling, *, stop_ids: Sequence[int], seed: int | None
    ) -> Sampled:
        """One reply to the prompt `ids`, from any event loop.

        Args:
            sampling: `max_new_tokens` must fit the model.
            stop_ids: tokens that end the reply and belong to it.
            seed: of this request's own noise; None draws from the engine's, which is faster.

        Raises:
            InfraFailure: the engine died, and could not be brought back.
            InfraTimeout: no reply in time.
        """
        work = self._generate(ids, sampling, list(stop_ids), seed)
        return await asyncio.wrap_future(bridge.submit(work))

    def reload(self, folder: Path, version: int) -> None:
        """Sample with the weights in `folder` (safetensors, checkpoint names) from now on.

        The folder must stay until the next reload: a restarted engine reads it again.
        """
        bridge.run(self._change(_reload(folder), version, folder))

    def change(self, change: Callable[[Any], Awaitable[None]], version: int) -> None:
        """Let `change` put new weights into vLLM's AsyncLLM, with nothing under way. A restarted
        engine does not know them: it refuses requests until the next change."""
        bridge.run(self._change(change, version, None))

    def use_lora(self, folder: Path, version: int) -> None:
        """Sample with the adapter in `folder` (PEFT's form) from now on; replies under way end with
        the one they began with. Needs the option `enable_lora`."""

        async def swap() -> None:
            from vllm.lora.request import LoRARequest

            number = next(self._numbers)
            lora = LoRARequest(f"adapter-{number}", number, str(folder))
            await self._llm.add_lora(lora)
            old, self._lora, self.version = self._lora, lora, version
            if old is not None and self._idle.is_set():
                await self._llm.remove_lora(old.lora_int_id)

        bridge.run(swap())

    def sleep(self, level: int = 1) -> None:
        """Give the GPU's memory back: 1 keeps weights in main memory, 2 drops them (then `reload`
        after `wake`). Untested until a GPU runs it; needs the option `enable_sleep_mode`."""

        async def fall_asleep() -> None:
            async with self._stillness():
                await self._llm.sleep(level)
                self._awake.clear()

        bridge.run(fall_asleep())

    def wake(self) -> None:
        """Take the memory back and go on. Untested until a GPU runs it."""

        async def wake_up() -> None:
            await self._llm.wake_up()
            self._awake.set()

        bridge.run(wake_up())

    def close(self) -> None:
        """End the engine's processes."""
        self._restarts_left = 0
        self._llm.shutdown(timeout=10)
        self._llm = None

    # Everything below runs on the bridge's loop.

    async def _generate(
        self, ids: array[int], sampling: Sampling, stop_ids: list[int], seed: int | None
    ) -> Sampled:
        from vllm.v1.engine.exceptions import EngineDeadError

        params = _params(sampling, stop_ids, seed)
        while not (self._awake.is_set() and not self._changing.locked()):
            await self._awake.wait()
            async with self._changing:
                pass
        self._busy += 1
        self._idle.clear()
        try:
            for _ in range(2):
                llm = self._llm
                try:
                    async with asyncio.timeout(self._timeout_s):
                        return await self._ask(llm, ids, params)
                except TimeoutError as error:
                    raise InfraTimeout(f"vLLM gave no reply in {self._timeout_s:g} s") from error
                except EngineDeadError:
                    await self._restart(llm)
            raise InfraFailure("the vLLM engine died twice under the same request")
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def _ask(self, llm: Any, ids: array[int], params: Any) -> Sampled:
        if self._lost:
            raise InfraFailure("the vLLM engine died with its weights: load them again")
        version, lora = self.version, self._lora
        # In this form nothing is left to tokenise or check, and no thread is needed for it.
        prompt = {"type": "token", "prompt_token_ids": ids.tolist()}
        name = str(next(self._numbers))
        outputs = [each async for each in llm.generate(prompt, params, name, lora_request=lora)]
        said = outputs[-1].outputs[0]
        reason: FinishReason | None = _FINISH.get(said.finish_reason)
        if reason is None:
            raise InfraFailure(f"vLLM ended a reply with {said.finish_reason!r}")
        return Sampled(
            ids=array("i", said.token_ids),
            logprobs=array("f", said.logprobs.logprobs),
            finish_reason=reason,
            version=version,
        )

    async def _change(
        self, change: Callable[[Any], Awaitable[None]], version: int, folder: Path | None
    ) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        async with self._stillness():
            llm = self._llm
            try:
                # An engine that dies in the middle may leave the call without an answer.
                async with asyncio.timeout(self._timeout_s):
                    await change(llm)
                    await llm.reset_prefix_cache()
            except TimeoutError as error:
                raise InfraTimeout(f"vLLM took no new weights in {self._timeout_s:g} s") from error
            except EngineDeadError:
                await self._restart(llm, change)
            self._weights, self._only_there = folder, folder is None
            self._lora, self._lost, self.version = None, False, version

    @asynccontextmanager
    async def _stillness(self) -> AsyncIterator[None]:
        """Nothing is under way, and nothing new begins."""
        async with self._changing:
            await self._idle.wait()
            yield

    async def _restart(
        self, dead: Any, change: Callable[[Any], Awaitable[None]] | None = None
    ) -> None:
        """Another engine in the place of `dead`, unless somebody has seen to it already.

        Its weights are put there by `change`, or are those of the last reload.
        """
        async with self._restarting:
            if self._llm is not dead:
                return
            if not self._restarts_left:
                raise InfraFailure("the vLLM engine died and no restarts are left")
            self._restarts_left -= 1
            await asyncio.to_thread(dead.shutdown)
            try:
                llm = await asyncio.to_thread(_start, self._options)
                if change is None and self._weights is not None:
                    change = _reload(self._weights)
                if change is not None:
                    await change(llm)
            except Exception as error:  # the boundary: whatever stops an engine from starting
                raise InfraFailure(
                    f"the vLLM engine died and could not be started again: {error}"
                ) from error
            self._llm, self._lost = llm, change is None and self._only_there


def _reload(folder: Path) -> Callable[[Any], Awaitable[None]]:
    async def change(llm: Any) -> None:
        await llm.collective_rpc("reload_from", args=(str(folder),))

    return change


_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


def _start(options: dict[str, Any]) -> Any:
    # A process with threads (torch's, ours) must not be forked.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise MissingExtraError("vllm", "vllm") from error
    try:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**options))
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(f"vLLM does not start {options['model']!r}: {error}") from error


def _params(sampling: Sampling, stop_ids: list[int], seed: int | None) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_new_tokens,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        stop=list(sampling.stop) or None,
        stop_token_ids=stop_ids,
        seed=seed,
        logprobs=0,
        flat_logprobs=True,
        detokenize=bool(sampling.stop),
        skip_special_tokens=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )
