"""Only what the agent wrote is ever in the loss: with real tokens, through rollout and collate."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import turngym  # noqa: E402
from turngym.agents.demonstrate import DemonstratingAgent  # noqa: E402
from turngym.agents.render import past_ids  # noqa: E402
from turngym.agents.tiny import tiny_tokenizer  # noqa: E402
from turngym.envs.conversational_qa.expert import expert  # noqa: E402
from turngym.errors import ContextOverflow  # noqa: E402
from turngym.trainers.batch import collate  # noqa: E402
from turngym.trainers.episode import Group  # noqa: E402
from turngym.trainers.rollout import rollout  # noqa: E402
from turngym.types import EpisodeStatus, assistant  # noqa: E402

TOKENIZER = tiny_tokenizer()
REPLIES = [
    "<search> town </search>",
    "<think> so </think><search> mayor of a town </search> and more",
    "no action at all",
    "<information> made up </information>",
    "<|im_start|>user\nhello",
    "<clarify> which? </clarify>",
    "<judge> yes </judge><search> firm </search>",
    "<judge> no </judge><search> town </search>",
    "<judge> no </judge> and no action",
    "",
]
ENDS = ["<answer> blue </answer>", "<noanswer></noanswer>", "<search> town </search>"]


class Limited(DemonstratingAgent):
    """Stops in the middle of replies, and has a context that runs full."""

    def __init__(self, script, *, max_reply=None, max_context=None):
        super().__init__(script, TOKENIZER)
        self.max_reply, self.max_context = max_reply, max_context

    async def act(self, context, *, sampling, seed):
        done = await super().act(context, sampling=sampling, seed=seed)
        before = [] if done.opens_segment else past_ids(context)
        if self.max_context and len(before) + len(done.new_prompt_ids) > self.max_context:
            raise ContextOverflow("full")
        if self.max_reply is None or len(done.reply_ids) <= self.max_reply:
            return done
        ids = done.reply_ids[: self.max_reply]
        text = TOKENIZER.decode(ids.tolist(), skip_special_tokens=False)
        return replace(
            done,
            reply_ids=ids,
            reply_logprobs=done.reply_logprobs[: self.max_reply],
            message=assistant(text),
            finish_reason="length",
        )


def play(script, task_id, agent_limits=None, **values):
    def make():
        return turngym.make("turngym/ConversationalQA-v0", num_entities=60, **values)

    agent = Limited(script, **(agent_limits or {}))
    return rollout(make, agent, [Group(key="g", task_id=task_id, seed=0)])


def trained_texts(batch):
    """What is trained, turn by turn."""
    texts = []
    for turn in range(len(batch.loss_mask)):
        ids = batch.token_ids[batch.turn_of_token == turn].tolist()
        texts.append(TOKENIZER.decode(ids, skip_special_tokens=False))
    return texts


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(REPLIES), min_size=1, max_size=6),
    st.sampled_from(ENDS),
    st.integers(1, 300),
    st.integers(1, 2000),
    st.sampled_from([{}, {"judge": True}, {"judge": True, "drop_rejected": True}]),
    st.booleans(),
    st.integers(0, 30),
    st.none() | st.integers(1, 12),
    st.none() | st.integers(200, 900),
)
def test_no_prompt_observation_header_or_notice_is_in_the_loss(
    replies, end, room, context_chars, verdicts, whole, number, max_reply, max_context
):
    said = [*replies, end]
    (episode,) = play(
        lambda context: said[min(len(context.turns), len(said) - 1)],
        f"train-{number}" if whole else f"train-{number}-1",
        {"max_reply": max_reply, "max_context": max_context},
        max_information_chars=room,
        max_context_chars=context_chars,
        whole=whole,
        **verdicts,
    )
    if max_context is None:
        assert episode.turns
    else:
        assert episode.status in (EpisodeStatus.TERMINATED, EpisodeStatus.TRUNCATED)
    if not episode.turns:
        return  # the context was full from the start
    batch = collate([episode])
    written = [
        turn.completion.message.content
        + ("" if turn.completion.finish_reason == "length" else "<|im_end|>")
        for turn in episode.turns
    ]
    assert trained_texts(batch) == written
    trained = int((batch.turn_of_token >= 0).sum())
    assert trained == episode.num_reply_tokens
    everything = TOKENIZER.decode(batch.token_ids.tolist(), skip_special_tokens=False)
    for turn in episode.turns[1:]:
        for message in turn.seen:  # it was there to be masked
            assert message.content in everything


def prompts(episode):
    """What the policy was shown before each reply, with its own replies."""
    shown, text = [], ""
    for turn in episode.turns:
        done = turn.completion
        new = TOKENIZER.decode(done.new_prompt_ids.tolist(), skip_special_tokens=False)
        text = new if done.opens_segment else text + new
        shown.append(text)
        text += TOKENIZER.decode(done.reply_ids.tolist(), skip_special_tokens=False)
    return shown


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["yes", "no", "none"]), min_size=2, max_size=8))
def test_rejected_passages_leave_every_later_prompt_and_each_turn_keeps_its_credit(verdicts):
    words = ["mayor", "owner", "seat", "home", "work", "music", "year", "goods", "town"]
    said = [f"<search> {words[0]} </search>"]
    for verdict, word in zip(verdicts, words[1:], strict=False):
        judged = "" if verdict == "none" else f"<judge> {verdict} </judge>"
        said.append(f"{judged}<search> {word} </search>")
    (episode,) = play(
        lambda context: said[len(context.turns)],
        "train-3-0",
        judge=True,
        drop_rejected=True,
        max_turns=len(said) - 1,
        top_k=1,
    )
    assert len(episode.turns) == len(said)
    gone = {number for turn in episode.turns[:-1] for number in turn.drops}
    pending, expected = 1, set()
    for number, verdict in enumerate(
        verdicts[:-1], 1
    ):  # the last reply is not followed by a prompt
        if verdict == "no":
            expected.add(pending)
        if verdict != "none":
            pending = number + 1
    assert gone == expected
    for number, prompt in enumerate(prompts(episode)):
        before = {at for turn in episode.turns[:number] for at in turn.drops}
        shown = [episode.turns[at].seen[-1].content for at in range(1, number + 1)]
        kept = [text for at, text in enumerate(shown, 1) if at not in before]
        for text in filter(lambda text: text.startswith("<information>"), shown):
            assert prompt.count(text) == kept.count(text)
        opens = number == 0 or bool(episode.turns[number - 1].drops)
        assert episode.turns[number].completion.opens_segment == opens
    batch = collate([episode])
    assert trained_texts(batch) == [reply + "<|im_end|>" for reply in said]
    assert len(batch.traj_of_segment) == 1 + len(gone)


def test_demo_episodes_have_at_most_400_tokens_headers_included():
    env = turngym.make("turngym/ConversationalQA-v0", size="demo")
    groups = [
        Group(key=task_id, task_id=task_id, split=split, seed=0)
        for split in ("train", "dev", "test")
        for task_id in env.tasks(split)[:60]
    ]
    agent = DemonstratingAgent(lambda context: expert(context.messages), TOKENIZER)
    played = rollout(
        lambda: turngym.make("turngym/ConversationalQA-v0", size="demo"),
        agent,
        groups,
    )
    assert max(len(collate([episode]).token_ids) for episode in played) <= 400
    assert all(episode.success for episode in played)


def test_information_gain_takes_the_references_of_the_environment():
    from turngym.agents.tiny import tiny_model
    from turngym.trainers.signals.info_gain import InfoGain, InfoGainConfig
    from turngym.trainers.signals.signal import Models

    env = turngym.make("turngym/ConversationalQA-v0", size="demo")
    groups = [Group(key=id, task_id=id, seed=0) for id in env.tasks("train")[:12]]
    agent = DemonstratingAgent(lambda context: expert(context.messages), TOKENIZER)
    played = rollout(
        lambda: turngym.make("turngym/ConversationalQA-v0", size="demo"), agent, groups
    )
    models = Models(policy=tiny_model(), tokenizer=TOKENIZER, initial=tiny_model, max_tokens=2048)
    gain = InfoGain(InfoGainConfig(template="<answer> {answer} </answer>"), models)
    assert gain.refusal([episode.privileged for episode in played]) == ""
    batch = collate(played)
    found = gain.columns(played, batch, models)
    exists = found.turn["info_gain_mask"].tolist()
    expected = []
    for episode in played:
        searches = len(episode.turns) - 1
        known = bool(episode.privileged.references)
        expected += [known] * searches + [False]  # nothing is asked after the last turn
    assert exists == expected and any(exists) and not all(exists)
