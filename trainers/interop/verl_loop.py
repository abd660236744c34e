"""Any environment of turngym as an agent loop of verl.

    actor_rollout_ref.rollout.agent.agent_loop_config_path=AGENT_LOOPS.yaml     with the one entry
        - name: turngym
          _target_: turngym.trainers.interop.verl_loop.TurngymAgentLoop

A row of the data set names the agent loop and the task (`dataset_rows` makes them): `agent_name`
("turngym"), `env_id`, `env_settings` (JSON), `task_id`, `split`, `seed`. Rows of one uid start
from the same state, because they share task and seed.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import torch
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from turngym.agents.parse import parse_hermes
from turngym.agents.render import Renderer, past_ids
from turngym.envs.registry import make
from turngym.errors import ContextOverflow, UsageError
from turngym.trainers.rollout import Group, arollout
from turngym.types import Completion, Context, Sampling, Trajectory, Turn

__all__ = ["ServerAgent", "TurngymAgentLoop", "TurngymOutput", "dataset_rows", "output_of"]


class TurngymOutput(AgentLoopOutput):  # type: ignore[misc]  # verl has no types
    """An episode for verl, with a reward for each token instead of one at the end."""

    token_rewards: list[float]
    """Outcome on the last sampled token, a turn's own reward on its first."""

    def as_dict(self) -> dict[str, Any]:
        """The columns that verl stores."""
        fields: dict[str, Any] = super().as_dict()
        fields["rm_scores"] = torch.tensor(fields.pop("token_rewards"), dtype=torch.float32)
        return fields


class ServerAgent:
    """An agent that asks verl's inference servers, ids in and ids out.

    Args:
        server: verl's client.
        renderer: of the policy's tokenizer.
        sampling_params: as verl gives them to the loop.
        response_length: tokens that an episode may have after its first prompt.
    """

    def __init__(
        self,
        server: Any,
        renderer: Renderer,
        sampling_params: Mapping[str, Any],
        response_length: int,
    ) -> None:
        self.server, self.renderer = server, renderer
        self.sampling_params, self.response_length = sampling_params, response_length

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The server's reply; temperature and the rest are those of verl's own settings.

        Raises:
            ContextOverflow: the response length is used up.
        """
        prompt = self.renderer.prompt(context)
        if prompt.opens_segment and context.turns:
            raise UsageError(
                "the chat template rewrites earlier turns, which verl's one row per episode cannot "
                "hold: use a template that only appends (such as one that keeps old reasoning)"
            )
        ids = past_ids(context) + prompt.new_ids
        first = context.turns[0].completion.new_prompt_ids if context.turns else ids
        room = self.response_length - (len(ids) - len(first))
        if room <= 0:
            raise ContextOverflow(f"{self.response_length} response tokens are used up")
        found = await self.server.generate(
            request_id=context.episode,
            prompt_ids=ids.tolist(),
            sampling_params={**self.sampling_params, "max_tokens": room},
        )
        reply = array("i", found.token_ids[:room])
        ended = bool(reply) and reply[-1] in self.renderer.stop_ids
        text = self.renderer.tokenizer.decode(reply[:-1] if ended else reply)
        return Completion(
            message=parse_hermes(text),
            new_prompt_ids=prompt.new_ids,
            reply_ids=reply,
            reply_logprobs=array("f", (found.log_probs or [])[:room]),
            opens_segment=prompt.opens_segment,
            finish_reason="stop" if ended else "length",
            temperature=float(self.sampling_params.get("temperature", 1.0)),
        )


class TurngymAgentLoop(AgentLoopBase):  # type: ignore[misc]  # verl has no types
    """Plays one episode of the environment that the data row names."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> Any:
        """A `TurngymOutput`; an empty list where the episode broke through no fault of the agent,
        which verl counts as a failed session and keeps out of the batch."""
        agent = ServerAgent(
            self.server_manager,
            Renderer(self.tokenizer),
            sampling_params,
            int(self.rollout_config.response_length),
        )
        settings = row.get("env_settings") or "{}"
        options = json.loads(settings) if isinstance(settings, str) else dict(settings)
        group = Group(
            key=uuid4().hex,
            seed=int(row.get("seed", 0)),
            task_id=row.get("task_id") or None,
            split=str(row.get("split", "train")),
        )
        (played,) = await arollout(lambda: make(str(row["env_id"]), **options), agent, [group])
        return output_of(played) if played.status.counts and played.turns else []


def output_of(trajectory: Trajectory) -> TurngymOutput:
    """A counted trajectory with one segment as verl's output.

    A last turn of a single token has room for one number: there the turn's own reward is left out.
    """
    turns = trajectory.turns
    response, mask, logprobs, rewards = array("i"), [], array("f"), []
    for index, turn in enumerate(turns):
        seen = turn.completion.new_prompt_ids if index else array("i")
        reply = turn.completion.reply_ids
        response.extend(seen)
        response.extend(reply)
        mask += [0] * len(seen) + [1] * len(reply)
        logprobs.extend(array("f", [0.0]) * len(seen))
        logprobs.extend(turn.completion.reply_logprobs)
        rewards += [0.0] * len(seen) + _turn_rewards(turn, last=index == len(turns) - 1)
    rewards[-1] = float(trajectory.outcome or 0.0)
    return TurngymOutput(
        prompt_ids=turns[0].completion.new_prompt_ids.tolist(),
        response_ids=response.tolist(),
        response_mask=mask,
        response_logprobs=logprobs.tolist() if len(logprobs) == len(response) else None,
        reward_score=rewards[-1],
        num_turns=2 * len(turns),
        metrics=AgentLoopMetrics(),
        token_rewards=rewards,
        extra_fields={
            "turn_scores": [turn.reward or 0.0 for turn in turns],
            "tool_rewards": [],
            "reward_extra_info": {"success": float(bool(trajectory.success))},
        },
    )


def dataset_rows(
    env_id: str, settings: Mapping[str, Any], *, split: str, count: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows of a data set for verl (write them as parquet), one per task or, without tasks, per seed.

    Args:
        env_id: a registered id.
        settings: of the environment.
        split: train, dev or test.
        count: rows; tasks repeat if there are fewer.
        seed: of the first row.
    """
    tasks = make(env_id, **settings).tasks(split)
    return [
        {
            "agent_name": "turngym",
            "env_id": env_id,
            "env_settings": json.dumps(dict(settings)),
            "task_id": tasks[index % len(tasks)] if tasks else "",
            "split": split,
            "seed": seed + index,
            "data_source": env_id,
            "prompt": [{"role": "user", "content": "(the environment speaks first)"}],
            "reward_model": {"style": "rule", "ground_truth": ""},
        }
        for index in range(count)
    ]


def _turn_rewards(turn: Turn, *, last: bool) -> list[float]:
    size = len(turn.completion.reply_ids)
    own = 0.0 if turn.reward is None or (last and size == 1) else turn.reward
    return [own] + [0.0] * (size - 1)
