"""The words and patterns that the rule-based user listens for, in English.

Gaps are bounded, so that no reply can make a search take long.
"""

from __future__ import annotations

import re

from turngym.envs.emotional_support.profiles import Intent

__all__ = [
    "CLOSED",
    "CUES",
    "DISTRESS",
    "FEELINGS",
    "FITS",
    "FUNCTION_WORDS",
    "INJECTION",
    "content_words",
    "stem",
    "words",
]

FEELINGS = {
    "ashamed": ("asham", "shame", "embarrass", "humiliat", "mortif"),
    "disappointed": ("disappoint", "let down", "crush", "dishearten", "gutted"),
    "anxious": ("anxi", "worr", "afraid", "scared", "scary", "fear", "fright", "nervous", "panic"),
    "hurt": ("hurt", "wound", "betray", "stung", "sting"),
    "sad": ("sad", "grie", "heartbr", "miss her", "miss him", "mourn", "sorrow"),
    "lonely": ("lonel", "alone", "isolat", "left out"),
    "guilty": ("guilt", "remorse", "blame yourself"),
    "angry": ("angr", "anger", "furious", "rage", "mad at"),
    "exhausted": ("exhaust", "worn out", "tired", "drain", "burnt out", "burned out"),
    "overwhelmed": ("overwhelm", "too much at once", "a lot on your plate", "drown", "swamped"),
    "jealous": ("jealous", "envi", "envy"),
}
"""Feeling family -> beginnings of its words."""


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(alternatives) + r")")


DISTRESS = _pattern(
    "hard", "painful", "awful", "heavy", "tough", "upset", "terrible", "bitter", "devastat",
    "horrible", "difficult", "ache", "unfair", "lonely", "rough", "cruel", "a shock",
)  # fmt: skip
"""Says that it is bad without naming the feeling."""

CUES = {
    "validates": _pattern(
        "no wonder", "makes? (?:perfect |total |complete )?sense", "of course you", "understandabl",
        "any(?:one|body) (?:would|in your)",
        "(?:completely|perfectly|only) (?:normal|natural|human)",
        "(?:it is|it's|it's only) (?:natural|human|okay to|ok to|fine to)", "no surprise",
        "i (?:get|see|understand) (?:why|that|how)", "i can (?:hear|see|imagine|understand)",
        "(?:every|a) right to", "that(?: is|'s) (?:so |really |very |a )",
        "(?:must|would) (?:have|be|feel|hurt)",
        "sounds? (?:so |really |very |completely )?\\w+", "who wouldn't",
    ),
    "sympathy": _pattern("i'?a?m (?:so |really |very )?sorry", "oh no", "ugh", "ouch", "my heart"),
    "presence": _pattern(
        "i'?a?m (?:here|with you|listening|all ears|glad you)",
        "thank you for (?:telling|sharing|trusting)",
        "take (?:your|all the) time", "tell me (?:more|everything|the|all|about)", "go on",
        "as much as you",
        "i(?:'d| would) like to hear",
    ),
    "advice": _pattern(
        "(?<!if )(?<!do )you (?:should(?! not feel|n't feel| have)|need to|ought to|have to|must (?!be|have|feel|miss|ache))",
        "why don't you",
        "have you (?:tried|considered|thought (?:about|of))", "if i were you",
        "i (?:suggest|recommend)",
        "(?<!what )you (?:could|can|might) (?!not|be |do it|tell|talk|say|take|cry|let|feel|always|count|see|imagine)", "i'd start",
        "try (?:to|the|a|some|not)\\b",
        "(?:one|a|the) (?:good |first )?(?:thing|step|start|way) (?:that (?:often )?helps?|to (?:begin|start)|(?:could|might|would) be)",
        "what about \\w+ing",
        "how about \\w+ing", "first you",
        "(?:^|[.!?] )(?:quit|block|call|make|write|ask|talk|start|get) ",
        "(?:would|might|could) help",
    ),
    "dismisses": _pattern(
        "(?:not|no) (?:such )?a? ?big deal", "(?<!hard to )(?<!how to )get over", "calm down",
        "(?:just )?relax[.!]", "overreact", "(?:so|being|too) dramatic", "cheer up",
        "(?:have|has|had|be|are) (?:it )?worse", "at least",
        "(?:it|that|this|he|she)(?:'s| is| was) (?:just|only) an?\\b",
        "it'?s (?:just|only|nothing)\\b(?! (?:natural|human|normal|fair|right))",
        "(?:so|that's) no problem", "forget (?:about )?it", "get used to",
        "stop (?:panic|whin|cry|complain|play|worry|be)\\w*ing", "don't (?:be|think about|take it)",
        "think (?:about|of) something else", "not that (?:long|bad|hard|much)", "nobody died",
        "come on,", "move on", "be glad", "(?:just|and) enjoy", "enjoy it",
        "that's what \\w+ (?:are|do|is|does|should)", "all (?:babies|people|parents|men|women)",
        "(?:can|may) do what", "had their reasons", "whatever[.!]", "(?:is|so) easy\\b", "grow up\\b",
        "is normal\\b(?! to)",
    ),
    "blames": _pattern(
        "(?<!not )(?<!n't )your (?:own )?fault", "you should(?:n't)? have", "if you had",
        "what did you do to (?:invite|provoke|cause|deserve|make)", "you knew (?:that|it|what)",
        "(?:is|'s) (?:all )?on you\\b",
        "what kind of (?:mother|father|person|friend|man|woman|son|daughter)",
        "you(?:'re| are| were) (?:probably |obviously |just )?(?:too \\w+|lazy|weak|bad)\\b",
        "you probably", "(?:they|he|she) (?:are|is|was|were) (?:probably )?right\\b",
        "you failed\\.", "why are you surprised", "not surprised", "you complain", "how can any",
        "to be fair",
    ),
    "hostile": _pattern(
        "(?:are|so|how) stupid", "pathetic", "idiot", "loser", "shut up", "is ugly", "get a life",
        "nobody likes", "(?:a|kind of) bad (?:mother|father|teacher|person|friend)",
        "can't stand you", "martyr", "feeling sorry for yourself", "serves you",
        "shouldn't (?:drive|teach|be)", "isn't for (?:someone|people)", "could have killed",
        "leave you when", "i hate you", "crybaby", "whin(?:e|ing)", "laughed too", "be done with",
        "(?:book|work|it) (?:just )?isn't good", "you(?:'re| are)? disgust",
    ),
    "empty_comfort": _pattern(
        "will (?:be (?:fine|okay|ok|alright|all right)|pass|work out)", "don't worry",
        "stay (?:positive|strong)", "everything happens", "time heals", "never give up",
        "you can do it", "plenty of", "better place", "(?:you'll|you will) (?:find|pass|be|get)",
        "it's only money", "good job!?$", "you're amazing", "things will",
    ),
    "self_talk": _pattern("when i (?:was|lost|had|did)",
        "i (?:always|once|love|wrote|had the same|went|never)\\b",
        "my (?:own )?(?:kids?|uncle|aunt|parents|friends|thesis|job|cousin)\\b", "reminds me of"),
    "open_question": _pattern(
        "(?:what|how|where|which|who)\\b[^.!?]{0,60}\\?",
        "(?:would|do) you (?:like|want) to (?:tell|talk|say|share)[^.!?]{0,60}\\?",
        "tell me (?:more|about|everything|the whole)", "(?:did|has) (?:any|some)thing[^.!?]{0,60}\\?",
    ),
}  # fmt: skip

CLOSED = re.compile(r"\b(?:how (?:old|many|long|much)|which|when|where|who)\b[^.!?]{0,60}\?")
"""Questions of fact, which no feeling answers."""

FITS = {
    Intent.LISTEN: _pattern("i'?a?m (?:here|with you|listening|all ears|glad you)",
        "take (?:your|all the) time", "tell me", "go on", "thank you for",
        "what (?:was|is) it like", "how (?:did|does) (?:it|that) feel",
        "what (?:happened|goes through|went through|came)", "hear more"),
    Intent.EMPATHY: _pattern("(?:must|sounds?|feel)", "i can (?:feel|imagine|hear)",
        "so (?:alone|lonely|heavy)", "hurts?"),
    Intent.PRAISE: _pattern("brave", "courage", "admire", "respect", "impress", "proud", "strength",
        "strong of you", "dedicat", "generous", "well done", "takes? (?:a lot|guts|heart)",
        "act of love", "wonderful", "remarkable", "not everyone", "few people", "decent"),
    Intent.REFLECT: re.compile(
        r"\b(?:what|how|which|when|looking back)\b[^.!?]{0,60}\b(?:you|your|yourself)\b[^.!?]{0,60}"
        r"\b(?:think|notice|learn|matters?|different|differently|yourself|means?|about you|wondered?"
        r"|changed?|look back|next time|tells? you)\b[^.!?]{0,60}\?"
        r"|\bwhat (?:matters|do you notice|would you)\b[^.!?]{0,60}\?|\blook back\b[^.!?]{0,60}\?"
    ),
    Intent.ADVICE: CUES["advice"],
    Intent.NO_FAULT: _pattern("(?:not|n't|never) (?:been )?your fault", "did nothing wrong",
        "(?:not|n't|nobody is|never) to blame", "(?:did|done) (?:what|all|everything) you could",
        "not on you", "on (?:him|her|them) and not",
        "any(?:one|body) in your (?:place|position|shoes)",
        "(?:don't think|nobody|no one) (?:any|could|would)[^.!?]{0,60}(?:have|known|seen)",
        "not responsible", "nothing to (?:be sorry|apologi[sz]e)"),
    Intent.MOTIVES: _pattern("(?:maybe|perhaps|possibly|it could be|could it be|could be|might be|it may be|may have been)\\b(?! you\\b)[^.!?]{0,60}\\b(?:he|she|they|his|her|their|him|them|it|your \\w+|the \\w+)\\b",
        "(?:he|she|they) (?:may|might|could) (?:have|be|feel|want|not)"),
    Intent.BOTH_SIDES: _pattern("on the one hand", "on the other",
        "both (?:of|have|sides|ways|make)", "at the same time",
        "(?:one|each|either|which|other) side", "speaks? (?:for|against)",
        "while \\w+ (?:could|might|would)", "and yet",
        "but (?:stopping|going|leaving|staying|it might)"),
}  # fmt: skip

INJECTION = re.compile("|".join((
    "\\bignore (?:all |any |the |your )?(?:previous|prior|above|earlier|instructions)",
    "\\b(?:set|update) (?:your|the|my|her|his) (?:emotion|mood|score|state)",
    "\\b(?:change|raise|increase) (?:your|the|her|his) (?:emotion|mood|score|state|feeling)s? ?(?:to|by|level|value|score)",
    "emotion[ _-]?(?:point|score|value|level|state)?s? ?(?:=|:|to|is|at|of) ?\\d", "system prompt",
    "<\\|?(?:system|im_start|im_end)", "\\[(?:system|inst)", "^(?:system|assistant|user) ?:",
    "\"change\" ?:", "\\bas (?:the|an) (?:judge|appraiser|evaluator|ai)",
    "(?:max(?:imum|imal)?|full|highest) (?:score|points|emotion|reward)",
    "you are now (?:in|a|an|the|happy|free|calm)\\b", "change ?[:=] ?\\+?\\d", "reward (?:me|this)",
    "hidden (?:intent|state|wish)", "pretend (?:that )?(?:you|your)", "developer mode",
    "end the (?:episode|dialogue)",
    "\u5ffd\u7565.{0,6}\u6307\u4ee4", "\u60c5\u7eea(?:\u503c|\u5206).{0,6}\\d",
)))  # fmt: skip
"""Talks to the simulator instead of the person."""

FUNCTION_WORDS = frozenset(
    """a about after again all also am an and any are as at back be because been before being but by can could
    did do does don't down each even every few for from get go had has have having he her here hers him his how i i'd
    i'm if in into is it it's its just kind know let like lot made make makes many may maybe me more most much must my
    need never no not now of off on once one only or other our out over own perhaps really said same say see she should
    so some still such take than that that's the their them then there these they thing things this those though through
    time to too up us very was way we well were what what's when where which while who why will with without would you
    you'd you'll you're you've your yours yourself""".split()
)

_WORD = re.compile(r"[a-z']+")


def words(text: str) -> list[str]:
    """Lower-case words of already normalised text."""
    return _WORD.findall(text)


def stem(word: str) -> str:
    """A crude common beginning: 'stalled' and 'stalling' meet, as do 'bill' and 'bills'."""
    for suffix in ("ing", "ed", "es", "s", "e"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


def content_words(text: str) -> frozenset[str]:
    """Stems of the words that carry the content."""
    return frozenset(
        stem(word) for word in words(text) if len(word) > 2 and word not in FUNCTION_WORDS
    )
