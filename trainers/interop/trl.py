"""turngym inside TRL's GRPOTrainer: episodes by `rollout_func`, credit per token by a mixin.

    class Trainer(TurnCreditMixin, GRPOTrainer): ...

    turns = TurnRollout("turngym/WebShop-v0", {"size": "demo"})
    Trainer(
        model, turns=turns, credit=CreditSettings(method="mapo"), args=GRPOConfig(...),
        train_dataset=Dataset.from_list(turns.rows(count=512)), processing_class=tokenizer,
    ).train()

`environment_class` is the other way in: a class for TRL's own `environment_factory`, whose methods
are the environment's tools.

Legend: B rows, T completion tokens (padded).
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from turngym.envs.env import TextEnv
from turngym.envs.registry import make
from turngym.errors import UsageError
from turngym.trainers.batch import collate
from turngym.trainers.config import CreditSettings
from turngym.trainers.credit import credit_method
from turngym.trainers.kernels.spread import spread
from turngym.trainers.rollout import Group, RolloutConfig, arollout
from turngym.trainers.types import TurnBatch
from turngym.types import Agent, Message, Sampling, ToolCall, Trajectory

__all__ = ["TurnCreditMixin", "TurnRollout", "environment_class", "outcome"]

MakeAgent = Callable[[Any], Agent]


class TurnRollout:
    """Plays episodes for TRL: its `rollout_func`.

    Args:
        env_id: a registered id.
        settings: of the environment.
        agent: makes the agent from TRL's trainer; None: sample from its model in this process. Give
            one for vLLM, for instance an `HTTPAgent` with `need_ids=True`.
        rollout: budgets.
    """

    def __init__(
        self,
        env_id: str,
        settings: Mapping[str, Any] | None = None,
        *,
        agent: MakeAgent | None = None,
        rollout: RolloutConfig | None = None,
    ) -> None:
        self.env_id, self.settings = env_id, dict(settings or {})
        self._make_agent, self._config = agent or _local_agent, rollout
        self.played: list[Trajectory] = []
        """Of the last call, in the order of its prompts."""

    def rows(self, *, count: int, split: str = "train", seed: int = 0) -> list[dict[str, Any]]:
        """Rows for a data set: the prompt names a task and a seed, the environment says the rest."""
        tasks = self._make().tasks(split)
        return [
            {
                "prompt": [
                    {
                        "role": "user",
                        "content": json.dumps(
                            {
                                "task_id": tasks[index % len(tasks)] if tasks else None,
                                "split": split,
                                "seed": seed + index,
                            }
                        ),
                    }
                ]
            }
            for index in range(count)
        ]

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        """One episode per prompt, in TRL's format: ids, log-probabilities, `env_mask`, outcomes.

        Equal prompts in a row start from the same state.
        """
        groups = _groups(prompts, _sampling(trainer.args))
        agent = self._make_agent(trainer)
        with torch.no_grad():
            self.played = asyncio.run(arollout(self._make, agent, groups, self._config))
        filler = trainer.processing_class.eos_token_id
        rows = [_row(trajectory, filler) for trajectory in self.played]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _make(self) -> TextEnv:
        return make(self.env_id, **self.settings)


class TurnCreditMixin:
    """Put before GRPOTrainer: advantages (B, T) of a credit method in the place of TRL's (B,).

    Statistics are over the trajectories of all processes. Episodes that broke through no fault of the
    agent are masked, and their reward is None.

    Args:
        turns: plays the episodes.
        credit: the method; one without signals, which TRL has no place for.
    """

    def __init__(
        self, *args: Any, turns: TurnRollout, credit: CreditSettings | None = None, **kwargs: Any
    ) -> None:
        self._turns, self._credit = turns, credit_method(credit or CreditSettings())
        super().__init__(*args, rollout_func=turns, reward_funcs=[outcome], **kwargs)  # type: ignore[call-arg]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        training = self.model.training  # type: ignore[attr-defined]
        size = self.num_generations if training else self.num_generations_eval  # type: ignore[attr-defined]
        local = self._turns.played
        everyone, start = _everyone(local, self.accelerator)  # type: ignore[attr-defined]
        grouped = [replace(t, group=str(index // size)) for index, t in enumerate(everyone)]
        batch = collate(grouped)
        credit = self._credit(batch)
        token = spread(credit.turn, batch.turn_of_token) if credit.token is None else credit.token
        if credit.weight is not None:
            token = token * credit.weight
        rows = range(start, start + len(local))
        output["advantages"] = _dense(token, batch, grouped, rows, output["completion_ids"])
        return output


def outcome(turngym_outcome: Sequence[float | None], **_: Any) -> list[float | None]:
    """TRL's reward function: the outcomes that `TurnRollout` passes on."""
    return list(turngym_outcome)


def environment_class(env_id: str, settings: Mapping[str, Any] | None = None) -> type:
    """A class for TRL's `environment_factory`: `reset`, `get_reward`, and a method per tool.

    An environment without tools gets one method, `say`. TRL ends an episode when the model answers
    without a call, and does not show that answer to the environment.
    """
    options = dict(settings or {})
    env = make(env_id, **options)
    env.reset(seed=0)
    schemas = [dict(tool.get("function", tool)) for tool in env.tools] or [dict(SAY)]
    env.close()
    members: dict[str, Any] = {schema["name"]: _method(schema) for schema in schemas}
    taken = {"reset", "get_reward"} & set(members)
    if taken:
        raise UsageError(
            f"{env_id} has a tool called {sorted(taken)[0]!r}, a name that TRL reserves"
        )
    return type(
        env_id.rpartition("/")[2].replace("-", "_"),
        (_Base,),
        members | {"_made_of": (env_id, options)},
    )


SAY: Mapping[str, Any] = {
    "name": "say",
    "description": "Say something to the environment.",
    "parameters": {
        "type": "object",
        "properties": {"text": {"type": "string", "description": "What to say."}},
        "required": ["text"],
    },
}


class _Base:
    """What environments for TRL share; names with an underscore are no tools."""

    _made_of: tuple[str, dict[str, Any]]

    def __init__(self) -> None:
        env_id, options = self._made_of
        self._env = make(env_id, **options)
        self._score, self._over = 0.0, True

    def reset(self, **row: Any) -> str:
        options = {name: row[name] for name in ("task_id", "split") if row.get(name)}
        seed = row.get("seed")
        new, _ = self._env.reset(seed=None if seed is None else int(seed), options=options)
        self._score, self._over = 0.0, False
        return _text(new)

    def get_reward(self) -> float:
        return self._score

    def _call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if self._over:
            return "The episode is over."
        if self._env.tools:
            call = ToolCall(id="call_0", name=name, arguments=dict(arguments))
            reply = Message(role="assistant", tool_calls=(call,))
        else:
            reply = Message(role="assistant", content=str(arguments["text"]))
        new, reward, terminated, truncated, info = self._env.step(reply)
        self._over = terminated or truncated
        self._score = float(info["outcome"]) if "outcome" in info else self._score + reward
        return _text(new)


PYTHON_TYPE: Mapping[str, type] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


def _method(schema: Mapping[str, Any]) -> Callable[..., str]:
    """A method with the signature and docstring from which TRL makes `schema` again."""
    parameters = schema.get("parameters", {})
    required = set(parameters.get("required", ()))
    described = parameters.get("properties", {})
    kinds = {name: PYTHON_TYPE.get(str(p.get("type")), str) for name, p in described.items()}
    ordered = sorted(described, key=lambda name: name not in required)

    def method(self: _Base, *values: Any, **named: Any) -> str:
        bound = signature.bind(self, *values, **named)
        return self._call(schema["name"], {k: v for k, v in bound.arguments.items() if k != "self"})

    places = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature(
        [
            inspect.Parameter("self", places),
            *(
                inspect.Parameter(
                    name,
                    places,
                    default=inspect.Parameter.empty if name in required else None,
                    annotation=kinds[name] if name in required else kinds[name] | None,
                )
                for name in ordered
            ),
        ],
        return_annotation=str,
    )
    method.__name__ = method.__qualname__ = schema["name"]
    method.__signature__ = signature  # type: ignore[attr-defined]
    method.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    method.__annotations__ = {k: v for k, v in method.__annotations__.items() if k != "self"}
    method.__annotations__["return"] = str
    lines = [str(schema.get("description", schema["name"])), "", "Args:"]
    lines += [f"    {name}: {described[name].get('description', name)}" for name in ordered]
    method.__doc__ = "\n".join(lines if ordered else lines[:1])
    return method


def _groups(prompts: Sequence[Any], sampling: Sampling) -> list[Group]:
    """Equal neighbours share a group."""
    groups: list[Group] = []
    texts: list[str] = []
    for prompt in prompts:
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        if texts and texts[-1] == text:
            groups[-1] = replace(groups[-1], size=groups[-1].size + 1)
            continue
        texts.append(text)
        try:
            task = json.loads(text)
            chosen = {"seed": int(task["seed"]), "task_id": task["task_id"], "split": task["split"]}
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"a prompt of turngym's rollout names a task, got {text!r:.120}: make the data set "
                "with TurnRollout.rows"
            ) from error
        groups.append(Group(key=f"trl/{len(groups)}", sampling=sampling, **chosen))
    return groups


def _sampling(args: Any) -> Sampling:
    return Sampling(
        temperature=float(args.temperature),
        max_new_tokens=int(args.max_completion_length),
        top_p=float(args.top_p),
        top_k=int(args.top_k or 0),
    )


def _local_agent(trainer: Any) -> Agent:
    from turngym.agents.hf import HFAgent

    model = trainer.accelerator.unwrap_model(trainer.model)
    agent: Agent = HFAgent(model, trainer.processing_class)
    return agent


def _row(trajectory: Trajectory, filler: int) -> dict[str, Any]:
    """One trajectory as TRL wants it; one that broke has nothing to train on."""
    turns = trajectory.turns
    if any(turn.completion.opens_segment for turn in turns[1:]):
        raise UsageError(
            "the chat template rewrites earlier turns, which TRL's one row per episode cannot hold: "
            "use a template that only appends"
        )
    ids, mask, logprobs = [], [], []
    for index, turn in enumerate(turns):
        seen = turn.completion.new_prompt_ids if index else ()
        ids += [*seen, *turn.completion.reply_ids]
        mask += [0] * len(seen) + [int(trajectory.status.counts)] * len(turn.completion.reply_ids)
        logprobs += [0.0] * len(seen) + [*turn.completion.reply_logprobs]
    prompt = list(turns[0].completion.new_prompt_ids) if turns else [filler]
    return {
        "prompt_ids": prompt,
        "completion_ids": ids or [filler],
        "logprobs": logprobs or [0.0],
        "env_mask": mask or [0],
        "turngym_outcome": trajectory.outcome,
    }


def _everyone(local: list[Trajectory], accelerator: Any) -> tuple[list[Trajectory], int]:
    """The trajectories of all processes in order, and where ours begin."""
    if accelerator.num_processes == 1:
        return local, 0
    from accelerate.utils import gather_object

    return gather_object(local), accelerator.process_index * len(local)


def _dense(
    token: Tensor,
    batch: TurnBatch,
    trajectories: Sequence[Trajectory],
    rows: range,
    completion_ids: Tensor,
) -> Tensor:
    """[B, T] of the tokens that follow each first prompt."""
    dense = torch.zeros(completion_ids.shape, device=completion_ids.device)
    starts = dict(zip(batch.traj_of_segment.tolist(), batch.cu_tokens.tolist(), strict=False))
    for place, index in enumerate(rows):
        turns = trajectories[index].turns
        if turns:
            skip = len(turns[0].completion.new_prompt_ids)
            size = sum(
                len(t.completion.new_prompt_ids) + len(t.completion.reply_ids) for t in turns
            )
            first = starts[index]
            dense[place, : size - skip] = token[first + skip : first + size].to(dense)
    return dense


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)
