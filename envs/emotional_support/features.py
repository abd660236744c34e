"""What the rule-based user notices in a reply: a documented, deterministic list of yes and no."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from turngym.envs.emotional_support.lexicon import (
    CLOSED,
    CUES,
    DISTRESS,
    FEELINGS,
    FITS,
    FUNCTION_WORDS,
    INJECTION,
    content_words,
    words,
)
from turngym.envs.emotional_support.profiles import Intent, Profile

__all__ = ["MAX_CHARACTERS", "Features", "observe", "spoken"]

MAX_CHARACTERS = 4000
"""Nobody reads further."""
MAX_WORDS = 110
SALAD_CUES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One reply as the rule-based user takes it in."""

    names_feeling: bool = False
    """Names the very feeling the person has."""
    names_distress: bool = False
    """Names another feeling of the kind, or says that it is bad."""
    validates: bool = False
    sympathy: bool = False
    presence: bool = False
    """Says that one is there and listens."""
    reflects: bool = False
    """Takes up at least two words of what the person said, in a sentence of one's own."""
    open_question: bool = False
    fits: bool = False
    """Gives what the person secretly wants."""
    advice: bool = False
    dismissal: bool = False
    blame: bool = False
    hostility: bool = False
    empty_comfort: bool = False
    self_talk: bool = False
    lecture: bool = False
    """Longer than anybody would listen to."""
    empty: bool = False
    foreign: bool = False
    """Not in the person's language."""
    injection: bool = False
    """Talks to the simulator."""
    salad: bool = False
    """Keywords without sentences, or the wishes of everybody at once."""
    parrots: bool = False
    """Gives the person's own words back."""
    repeats: bool = False
    """Says what it said before."""

    @property
    def void(self) -> bool:
        """Whether nothing in the reply can do the person good."""
        return (
            self.empty
            or self.foreign
            or self.injection
            or self.salad
            or self.parrots
            or self.repeats
        )

    @property
    def acknowledges(self) -> bool:
        """Whether the feeling is met at all."""
        return self.names_feeling or self.names_distress or self.validates or self.sympathy


def spoken(reply: str) -> str:
    """What the person hears: after the last `</think>`, cut to MAX_CHARACTERS."""
    return reply.rpartition("</think>")[2].strip()[:MAX_CHARACTERS]


def observe(profile: Profile, said: Sequence[str], earlier: Sequence[str], reply: str) -> Features:
    """The features of `reply`, given what the person said and what was replied earlier.

    Args:
        profile: a person with a script.
        said: the person's messages so far.
        earlier: the supporter's replies before this one.
        reply: as it was spoken.
    """
    text = _own(_normal(reply))
    tokens = words(text)
    if not any(character.isalnum() for character in text):
        return Features(empty=True)
    if len("".join(tokens)) < 0.5 * sum(character.isalpha() for character in text):
        return Features(foreign=True, injection=bool(INJECTION.search(text)))
    cue = {name: bool(pattern.search(text)) for name, pattern in CUES.items()}
    heard = _normal(" ".join(said))
    exact = _names(text, profile.script.feeling) if profile.script else False
    near = bool(DISTRESS.search(text)) or any(_names(text, family) for family in FEELINGS)
    question = cue["open_question"] and not _only_facts(text)
    reflects = len(content_words(text) & content_words(heard)) >= 2
    return Features(
        names_feeling=exact,
        names_distress=near,
        validates=cue["validates"],
        sympathy=cue["sympathy"],
        presence=cue["presence"],
        reflects=reflects,
        open_question=question,
        fits=_fits(profile, text, cue, reflects=reflects, near=near or exact),
        advice=cue["advice"],
        dismissal=cue["dismisses"],
        blame=cue["blames"],
        hostility=cue["hostile"],
        empty_comfort=cue["empty_comfort"],
        self_talk=cue["self_talk"],
        lecture=len(tokens) > MAX_WORDS,
        injection=bool(INJECTION.search(text)),
        salad=_salad(text, tokens),
        parrots=_copied(tokens, [words(heard)]) >= 0.6,
        repeats=_copied(tokens, [words(_normal(old)) for old in earlier]) >= 0.7,
    )


def _normal(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return re.sub(r"\s+", " ", text).strip()


def _own(text: str) -> str:
    """`text` without what it quotes, unless everything is quoted."""
    outside = re.sub(r'"[^"]*"', " ", text)
    return outside if words(outside) else text


def _names(text: str, family: str) -> bool:
    """Whether a word of the family is there, and not forbidden or denied."""
    for beginning in FEELINGS[family]:
        for match in re.finditer(r"\b" + beginning, text):
            before = text[max(0, match.start() - 22) : match.start()]
            if not re.search(r"\b(?:not|don't|never|no|stop|nothing)\b[^.!?]*$", before):
                return True
            if re.search(r"\bno (?:wonder|surprise)\b", before):
                return True
    return False


def _only_facts(text: str) -> bool:
    questions = [part for part in re.split(r"(?<=[.!?])", text) if part.endswith("?")]
    return bool(questions) and all(CLOSED.search(question) for question in questions)


def _fits(profile: Profile, text: str, cue: dict[str, bool], *, reflects: bool, near: bool) -> bool:
    intent = profile.intent
    if not FITS[intent].search(text):
        return False
    if intent is Intent.LISTEN:
        return not cue["advice"]
    if intent is Intent.EMPATHY:
        return near and reflects and not cue["advice"]
    if intent is Intent.PRAISE and profile.script is not None:
        return bool(content_words(text) & content_words(profile.script.situation.deed))
    return True


def _salad(text: str, tokens: list[str]) -> bool:
    """Few function words, list-like pieces, loops, cues without sentences, or all wishes at once."""
    if len(tokens) < 4:
        return False
    function_share = sum(token in FUNCTION_WORDS for token in tokens) / len(tokens)
    looping = len(tokens) >= 10 and len(set(tokens)) < 0.5 * len(tokens)
    pieces = [piece.split() for piece in re.split(r"[,;/|\n.!?-]+", text) if piece.strip()]
    listing = len(pieces) >= 5 and sum(len(piece) <= 3 for piece in pieces) > 0.6 * len(pieces)
    crowded = any(_cues_in(sentence) >= SALAD_CUES for sentence in re.split(r"[.!?]+", text))
    endless = len(tokens) > 15 and not re.search(r"[.!?,;]", text)
    subjectless = len(tokens) > 5 and not re.search(r"[.!?,;]", text) and not _SUBJECT.search(text)
    wishes = sum(bool(FITS[intent].search(text)) for intent in _DISTINCT)
    return (
        function_share < 0.2
        or looping
        or listing
        or crowded
        or endless
        or subjectless
        or wishes > 3
    )


_SUBJECT = re.compile(r"\b(?:i|you|it|that|this|he|she|they|we|there|who|what|how)(?:'\w+)? \w")
_DISTINCT = (
    Intent.PRAISE,
    Intent.REFLECT,
    Intent.ADVICE,
    Intent.NO_FAULT,
    Intent.MOTIVES,
    Intent.BOTH_SIDES,
)


def _cues_in(sentence: str) -> int:
    kinds = ("validates", "sympathy", "presence", "advice", "empty_comfort")
    found = sum(bool(CUES[kind].search(sentence)) for kind in kinds)
    found += sum(bool(FITS[intent].search(sentence)) for intent in _DISTINCT)
    return found + sum(_names(sentence, family) for family in FEELINGS)


_TURNED = {
    "you": "i",
    "we": "i",
    "us": "i",
    "our": "my",
    "me": "i",
    "your": "my",
    "yours": "mine",
    "are": "am",
    "you're": "i'm",
}


def _copied(tokens: list[str], sources: list[list[str]]) -> float:
    """Largest share of three-word runs that one source has too; 'you' and 'we' count as 'I'."""
    own = _runs(tokens)
    return max((len(own & _runs(source)) / len(own) for source in sources if own), default=0.0)


def _runs(tokens: list[str]) -> set[tuple[str, ...]]:
    turned = [_TURNED.get(token, token) for token in tokens]
    return {tuple(turned[index : index + 3]) for index in range(max(len(turned) - 2, 1))}
