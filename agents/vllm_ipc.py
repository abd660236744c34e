"""Weights from a trainer to a vLLM engine on the same GPU by CUDA IPC: handles travel, tensors stay.

Untested until a GPU with vLLM runs it.
"""

from __future__ import annotations

from typing import Any

from turngym import bridge

__all__ = ["send_weights"]


def send_weights(llm: Any, model: Any) -> None:
    """Give `llm` (an AsyncLLM with `weight_transfer_config={"backend": "ipc"}`) the parameters of
    `model`; blocks, off the bridge's loop. FSDP2 shards are gathered one by one."""
    import torch
    from vllm.distributed.weight_transfer.base import ModuleSource
    from vllm.distributed.weight_transfer.ipc_engine import (
        IPCTrainerInitInfo,
        IPCTrainerWeightTransferEngine,
    )

    torch.cuda.set_device(next(model.parameters()).device)  # the default is per thread
    sender = IPCTrainerWeightTransferEngine.trainer_init(
        IPCTrainerInitInfo(rank=0), client=_Client(llm), source=ModuleSource(model)
    )
    sender.send_weights()


class _Client:
    """vLLM's synchronous control plane over our engine's loop."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        bridge.run(self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info)))

    def start_weight_update(self) -> None:
        bridge.run(self._llm.start_weight_update())

    def update_weights(self, update_info: Any) -> None:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        bridge.run(self._llm.update_weights(WeightTransferUpdateRequest(update_info)))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        bridge.run(self._llm.finish_weight_update(weight_version))
