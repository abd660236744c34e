"""tau2-bench: tasks, the tools of retail, mock and telecom, its reward, an environment."""
