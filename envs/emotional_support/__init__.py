"""Simulated people with a hidden emotional state, talking to a supporter.

File map: `appraisal` what a judgement holds; `emotion` and `empa` the exact state machines;
`profiles`, `situations` who the people are; `features`, `lexicon` what the rules see in a reply;
`rule_user` and `llm_user` the two simulated users; `env` the environment; `expert` a scripted
supporter; `data` loaders; `emobench` an evaluation; `future` rewards from forked futures.
"""
