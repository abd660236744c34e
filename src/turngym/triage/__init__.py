"""Triage: which trajectories are worth a look, without a model.

The taxonomy, the thresholds and the quality score are those of "Signals" (arXiv 2604.00356); the
word lists are our own (`triage.words`), English only. `triage(trajectory)` is a pure function.

| file | what |
| --- | --- |
| `signal.py` | the taxonomy: 7 categories, 25 kinds |
| `words.py` | phrases by kind |
| `texts.py` | texts made comparable: shortened, cleaned, trigrams, cosine |
| `talk.py` | interaction: misalignment, stagnation, disengagement, satisfaction |
| `calls.py` | execution and environment: failure, loops, exhaustion |
| `score.py` | the quality score from 0 to 100 |
"""

from turngym.triage.calls import call_signals
from turngym.triage.score import Grade, Triage, quality, triage
from turngym.triage.signal import TAXONOMY, Category, Signal
from turngym.triage.talk import talk_signals

__all__ = [
    "TAXONOMY",
    "Category",
    "Grade",
    "Signal",
    "Triage",
    "call_signals",
    "quality",
    "talk_signals",
    "triage",
]
