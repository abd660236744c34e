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
    st.booleans(),
    st.booleans(),
    st.integers(0, 30),
)
def test_no_prompt_observation_header_or_notice_is_in_the_loss(
    replies, end, room, context_chars, judge, whole, number
):
    said = [*replies, end]
    (episode,) = play(
        lambda context: said[min(len(context.turns), len(said) - 1)],
        f"train-{number}" if whole else f"train-{number}-1",
        max_information_chars=room,
        max_context_chars=context_chars,
        judge=judge,
        whole=whole,
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
