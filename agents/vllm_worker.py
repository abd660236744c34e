"""What runs inside vLLM's workers."""

from __future__ import annotations

from typing import Any

__all__ = ["Worker"]


class Worker:
    """Mixed into vLLM's worker (`worker_extension_cls`)."""

    model_runner: Any
    reload_weights: Any

    def reload_from(self, folder: str) -> None:
        """Load the weights of `folder` in place.

        vLLM 0.32 forgets one thing: on a CPU it keeps a packed copy of the output head, and where
        that is tied to the input embeddings no file holds the head, so that the copy stays old.
        """
        self.reload_weights(weights_path=folder)
        modules = list(self.model_runner.get_model().modules())
        tables = {
            id(module.weight)
            for module in modules
            if type(module).__name__ == "VocabParallelEmbedding"
        }
        for module in modules:
            tied = type(module).__name__ == "ParallelLMHead" and id(module.weight) in tables
            if tied and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)
