"""Phrases by kind of signal: regular expressions on lower-case text. English, and our own.

A phrase is here only if it says the thing by itself: a missed signal costs less than a false one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["SAID_BY_ENVIRONMENT", "SAID_BY_USER", "find"]


def _any(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"(?:{phrase})" for phrase in phrases))


SAID_BY_USER: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "escalation": _any(
            r"\b(?:speak|talk|transfer me|put me through)\b.{0,20}\b(?:human|person|manager|supervisor|agent)\b",
            r"\b(?:real|actual) (?:human|person)\b",
            r"\bfile (?:a|an official) complaint\b",
            r"\bget me (?:a|your) (?:manager|supervisor)\b",
        ),
        "quit": _any(
            r"\bi(?:'m| am) (?:done|leaving|giving up|out of here)\b",
            r"\bi give up\b",
            r"\bforget (?:it|about it)\b",
            r"\bnever ?mind\b",
            r"\bi(?:'ll| will) (?:go|look|ask) (?:somewhere )?else(?:where)?\b",
            r"\bcancel (?:this|the) (?:chat|conversation)\b",
        ),
        "negative_stance": _any(
            r"\b(?:useless|ridiculous|terrible|awful|pathetic|waste of (?:my )?time)\b",
            r"\b(?:this|it) (?:is|was)(?:n't| not) (?:helping|helpful|working|good enough)\b",
            r"\byou(?:'re| are) (?:not listening|no help|not helping)\b",
            r"\bi(?:'m| am) (?:so |very |really )?(?:frustrated|annoyed|fed up|angry with you)\b",
        ),
        "correction": _any(
            r"^no[,.!]? (?:i|that|it|not|the|you)\b",
            r"\bthat(?:'s| is) (?:not (?:right|correct|what i)|wrong|incorrect)\b",
            r"\bi (?:said|asked for|told you|already (?:said|told))\b",
            r"\bi (?:did not|didn't) (?:say|ask|mean)\b",
            r"\byou (?:misunderstood|got (?:it|that) wrong|missed)\b",
            r"\bactually,? (?:i|it|that|the) (?:meant|want|wanted|is|was|should)\b",
        ),
        "clarification": _any(
            r"\bwhat do you mean\b",
            r"\bi (?:do not|don't) (?:understand|follow|get (?:it|what))\b",
            r"\b(?:can|could) you (?:clarify|explain (?:that|what)|be more specific|rephrase)\b",
            r"\bi(?:'m| am) (?:confused|lost|not sure what you)\b",
        ),
        "gratitude": _any(
            r"\b(?:thank you|thanks|thx|much appreciated|i appreciate)\b",
            r"\byou(?:'ve| have) been (?:very |so |really )?(?:helpful|kind)\b",
        ),
        "success": _any(
            r"\b(?:it|that|this) (?:works|worked|is fixed|fixed it|solved it|did it)\b",
            r"\bproblem solved\b",
            r"\b(?:exactly|just) what i (?:needed|wanted|was looking for)\b",
            r"\bi feel (?:so |much |a lot )?better\b",
        ),
        "confirmation": _any(
            r"^(?:yes|yep|yeah|right|correct|exactly|perfect|great|sounds good)\b",
            r"\bthat(?:'s| is) (?:right|correct|it|perfect|great)\b",
        ),
    }
)
"""Of a user's words; the first kind that fits counts."""

SAID_BY_ENVIRONMENT: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "rate_limit": _any(
            r"\brate.?limit",
            r"\btoo many requests\b",
            r"\bquota (?:exceeded|reached)\b",
            r"\b429\b",
        ),
        "timeout": _any(
            r"\btimed? ?out\b", r"\bdeadline exceeded\b", r"\b(?:504 gateway|gateway timeout)\b"
        ),
        "network": _any(
            r"\bconnection (?:refused|reset|aborted|error|closed)\b",
            r"\b(?:name resolution|dns lookup) failed\b",
            r"\b(?:network|host) (?:is )?unreachable\b",
            r"\bcould not resolve host\b",
        ),
        "api_error": _any(
            r"\b(?:internal server error|service unavailable|bad gateway)\b",
            r"\b(?:http|status)(?: code)?:? ?5\d\d\b",
            r"\bapi error\b",
        ),
        "malformed_response": _any(
            r"\b(?:malformed|unparsable|truncated) (?:json|response|xml)\b",
            r"\bjson ?decode ?error\b",
            r"\bunexpected end of (?:json|input)\b",
        ),
        "context_overflow": _any(
            r"\b(?:context (?:length|window)|maximum context|token limit) (?:is )?(?:exceeded|reached|overflow)",
            r"\bexceeds? the (?:context|token) (?:length|limit|window)\b",
        ),
        "tool_not_found": _any(
            r"\b(?:unknown|no such|unrecogni[sz]ed) (?:tool|function|command|action)\b",
            r"\b(?:tool|function|command) .{0,60}(?:not found|does not exist)\b",
            r"\bcommand not found\b",
        ),
        "auth_misuse": _any(
            r"\b(?:unauthori[sz]ed|permission denied|access denied|forbidden|not authenticated)\b",
            r"\b(?:invalid|missing|expired) (?:credentials|api key|token)\b",
        ),
        "invalid_args": _any(
            r"\b(?:invalid|missing|unexpected|unknown|required) (?:required )?(?:argument|parameter|field|keyword)",
            r"\b(?:validation|schema) error\b",
            r"\bmust be (?:a|an|one of)\b.{0,60}\bgot\b",
        ),
        "bad_query": _any(
            r"\b(?:no|0|zero) (?:results|matches|records|documents|items|passages)(?: were| was)? ?(?:found|match|for)?",
            r"\b(?:nothing|no \w+) (?:matches|matched|was found|found)\b",
            r"\bempty query\b",
            r"\bsyntax error (?:in|at|near)\b",
        ),
        "state_error": _any(
            r"\b(?:cannot|can't|could not) be .{0,40}\b(?:state|status|any ?more|already)\b",
            r"\b(?:already|not yet) (?:been )?(?:cancelled|canceled|closed|booked|returned|shipped|open|exists?)\b",
            r"\b(?:in|from) (?:the|its|this) (?:current|present) state\b",
        ),
    }
)
"""Of a tool's answer or of what an environment says to a refused action; the first fit counts.
Exhaustion stands before failure: a tool that timed out was not misused."""


def find(phrases: Mapping[str, re.Pattern[str]], text: str) -> tuple[str, str] | None:
    """The first kind whose phrases occur in lower-case `text`, with the words; None for none."""
    for kind, pattern in phrases.items():
        if found := pattern.search(text):
            return kind, found.group(0)
    return None
