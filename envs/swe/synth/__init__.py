"""Procedural bugs in real packages: transforms, and the tasks that they make."""
