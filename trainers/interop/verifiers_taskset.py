"""Any environment of turngym as a verifiers v1 taskset (verifiers 0.4).

    vf-eval turngym-verifiers --env.taskset.env turngym/WebShop-v0 --model MODEL

`turngym_verifiers` is the module that verifiers loads by that name. It brings a taskset (the tasks of
a split), a harness that plays the whole episode in process, and an Env that needs no sandbox. The
agent is the model itself: its replies and tool calls are the actions, every one of them goes through
verifiers' own endpoint, and so into its trace. Rewards and metrics are those of our own rollout.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from turngym.agents.endpoint import Endpoint, Refused, Retries, is_overflow
from turngym.agents.transport import AiohttpTransport
from turngym.agents.wire import message_to_wire, read_chat, tool_to_wire
from turngym.envs.env import StepResult, TextEnv
from turngym.envs.registry import make
from turngym.envs.wrappers import Wrapper
from turngym.errors import ContextOverflow, MissingExtraError, NotTheAgentsFault
from turngym.seeding import derive
from turngym.trainers.rollout import Group, RolloutConfig, arollout
from turngym.types import Completion, Context, Message, Sampling, TurnStatus, system

try:
    import verifiers.v1 as vf
except ImportError as error:
    raise MissingExtraError("verifiers", "verifiers") from error

__all__ = [
    "Seat",
    "TurngymConfig",
    "TurngymData",
    "TurngymEnv",
    "TurngymEnvConfig",
    "TurngymHarness",
    "TurngymState",
    "TurngymTask",
    "TurngymTaskset",
    "Watched",
]

LONG_S = 7 * 24 * 3600.0
"""verifiers bounds the time of model calls and episodes itself."""


class TurngymConfig(vf.TasksetConfig):  # type: ignore[misc]  # verifiers has no types for us
    """Which environment, and which of its tasks."""

    env: str = ""
    """A registered id, such as `turngym/WebShop-v0`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the environment."""
    split: str = "train"
    seed: int = 0
    """Each task's own seed follows from this one and the task's place."""


class TurngymData(vf.TaskData):  # type: ignore[misc]
    """One task on the wire; nothing of its solution."""

    env: str
    settings: dict[str, Any]
    task_id: str | None
    """None: drawn from the seed."""
    split: str
    seed: int


class TurngymState(vf.State):  # type: ignore[misc]
    """What the episode has earned so far, kept up to date: a run that is stopped keeps it."""

    reward_sum: float = 0.0
    told_outcome: float | None = None
    """What the environment said itself; without it the sum of rewards is the outcome."""
    success: bool | None = None
    turns: int = 0
    turn_reward_sum: float = 0.0
    invalid_actions: int = 0
    parts: dict[str, float] = Field(default_factory=dict)
    """Sums of the named parts of the reward."""

    @property
    def outcome(self) -> float:
        """The task score."""
        return self.reward_sum if self.told_outcome is None else self.told_outcome


class TurngymTask(vf.Task[TurngymData, TurngymState, vf.TaskConfig]):  # type: ignore[misc]
    """Scores an episode by what its environment said."""

    @vf.reward(weight=1.0)  # type: ignore[untyped-decorator]
    async def outcome(self, trace: vf.Trace) -> float:
        """The task score, as `Trajectory.outcome`."""
        score: float = trace.state.outcome
        return score

    @vf.metric  # type: ignore[untyped-decorator]
    async def episode(self, trace: vf.Trace) -> dict[str, float]:
        """Success, turns, invalid actions, the sum of turn rewards, and each named part."""
        state = trace.state
        found = {
            "turns": float(state.turns),
            "invalid_actions": float(state.invalid_actions),
            "turn_reward_sum": state.turn_reward_sum,
            **{f"part/{name}": value for name, value in state.parts.items()},
        }
        if state.success is not None:
            found["success"] = float(state.success)
        return found


class TurngymTaskset(vf.Taskset[TurngymTask, TurngymConfig]):  # type: ignore[misc]
    """The tasks of a split; without end where the environment draws them from seeds.

    Raises:
        UnknownNameError: no such environment; the message names the closest.
    """

    def __init__(self, config: TurngymConfig) -> None:
        super().__init__(config)
        env = make(config.env, **config.settings)
        try:
            self.task_ids = tuple(env.tasks(config.split))
        finally:
            env.close()
        self.INFINITE = not self.task_ids

    def load(self) -> Iterator[TurngymTask]:
        """One task for each id, or for each of infinitely many seeds."""
        config = self.config
        ids = self.task_ids or (None for _ in itertools.count())
        for place, task_id in enumerate(ids):
            name = f"{config.env} {config.split} {task_id if task_id is not None else place}"
            data = TurngymData(
                id=task_id,
                name=name,
                # verifiers wants a prompt from whoever brings no user; the real one is on the trace.
                prompt=f"{name} (the environment speaks first)",
                env=config.env,
                settings=config.settings,
                task_id=task_id,
                split=config.split,
                seed=derive(config.seed, place),
            )
            yield TurngymTask(data, config.task)


class TurngymHarness(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc]
    """Plays the episode in this process; the model is asked through verifiers' endpoint."""

    APPENDS_SYSTEM_PROMPT = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    def __init__(self, config: vf.HarnessConfig) -> None:
        super().__init__(config)
        self._transport = AiohttpTransport()

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: Mapping[str, str],
        data: TurngymData,
    ) -> vf.ProgramResult:
        """The whole episode.

        Raises:
            TypeError: a task of another taskset.
            NotTheAgentsFault: the episode does not count; verifiers records the error and gives no
                reward.
        """
        if not isinstance(data, TurngymData):
            raise TypeError(f"this harness plays turngym's tasks, got a {type(data).__name__}")
        agent = Seat(
            Endpoint(
                endpoint,
                api_key=secret,
                transport=self._transport,
                retries=Retries(timeout_s=LONG_S, give_up_s=LONG_S),
            ),
            ctx.model,
            trace,
            data.system_prompt,
        )
        (played,) = await arollout(
            lambda: Watched(make(data.env, **data.settings), trace.state),
            agent,
            [Group(key=trace.id, seed=data.seed, task_id=data.task_id, split=data.split)],
            RolloutConfig(
                concurrency=1,
                deterministic=False,
                act_timeout_s=LONG_S,
                episode_timeout_s=LONG_S,
            ),
        )
        trace.info["turngym_status"] = played.status.value
        if not played.status.counts:
            raise NotTheAgentsFault(f"{played.status.value}: {played.error}")
        trace.state.success = played.success
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


class TurngymEnvConfig(vf.EnvConfig):  # type: ignore[misc]
    """One agent, in this process: our environments bring their own sandboxes."""

    agent: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())


class TurngymEnv(vf.Env[TurngymEnvConfig]):  # type: ignore[misc]
    """One episode is one run of the one agent."""

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """Play."""
        await agents.agent.run(task)


class Watched(Wrapper):
    """Keeps verifiers' record of an episode up to date.

    Args:
        env: what is played.
        state: the record.
    """

    shared = Wrapper.shared | {"state"}

    def __init__(self, env: TextEnv, state: TurngymState) -> None:
        super().__init__(env)
        self.state = state

    def after(self, action: Message, result: StepResult) -> StepResult:
        """Add up what the step earned."""
        state, (_, reward, _, _, info) = self.state, result
        state.turns += 1
        state.reward_sum += reward
        state.turn_reward_sum += info.get("turn_reward") or 0.0
        state.told_outcome = info.get("outcome", state.told_outcome)
        state.success = info.get("success", state.success)
        state.invalid_actions += info.get("status") == TurnStatus.INVALID_ACTION
        for name, value in info.get("rewards", {}).items():
            state.parts[name] = state.parts.get(name, 0.0) + value
        return result


class Seat:
    """An agent that asks verifiers for each reply; model and sampling are verifiers' own settings.

    Args:
        endpoint: of this run.
        model: as verifiers calls it.
        trace: of this run.
        system_prompt: shown before all else, as verifiers' prompt optimiser wants it; None: nothing.
    """

    def __init__(
        self, endpoint: Endpoint, model: str, trace: vf.Trace, system_prompt: str | None
    ) -> None:
        self._endpoint, self._model, self._trace = endpoint, model, trace
        self._first = [] if system_prompt is None else [system(system_prompt)]

    async def act(self, context: Context, *, sampling: Sampling, seed: int) -> Completion:
        """The model's reply.

        Raises:
            ContextOverflow: verifiers stopped the run at one of its limits, or the conversation is
                too long for the model; what was earned so far counts.
            InfraFailure: no usable answer.
        """
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [message_to_wire(m) for m in (*self._first, *context.messages)],
        }
        if context.tools:
            body["tools"] = [tool_to_wire(tool) for tool in context.tools]
        try:
            answer = await self._endpoint.post("/chat/completions", body, read_chat)
        except Refused as refusal:
            if self._trace.stop_condition is not None or is_overflow(refusal):
                raise ContextOverflow(str(refusal)) from refusal
            raise
        return Completion(message=answer.message, finish_reason=answer.finish_reason)
