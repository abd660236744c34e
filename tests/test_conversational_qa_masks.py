"""Only what the agent wrote is ever in the loss: with real tokens, through rollout and collate."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import turngym  # noqa: E402
from turngym.agents.demonstrate import DemonstratingAgent  # noqa: E402
from turngym.agents.tiny import tiny_tokenizer  # noqa: E402
from turngym.envs.conversational_qa.expert import expert  # noqa: E402
from turngym.trainers.batch import collate  # noqa: E402
from turngym.trainers.episode import Group  # noqa: E402
from turngym.trainers.rollout import rollout  # noqa: E402

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


def play(script, task_id, **values):
    def make():
        return turngym.make("turngym/ConversationalQA-v0", num_entities=60, **values)

    agent = DemonstratingAgent(script, TOKENIZER)
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
)
def test_no_prompt_observation_header_or_notice_is_in_the_loss(
    replies, end, room, context_chars, verdicts, whole, number
):
    said = [*replies, end]
    (episode,) = play(
        lambda context: said[min(len(context.turns), len(said) - 1)],
        f"train-{number}" if whole else f"train-{number}-1",
        max_information_chars=room,
        max_context_chars=context_chars,
        whole=whole,
        **verdicts,
    )
    batch = collate([episode])
    written = [turn.completion.message.content + "<|im_end|>" for turn in episode.turns]
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
