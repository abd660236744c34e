"""Look at runs: one HTML file, a live view, plots, differences.

| file | what |
| --- | --- |
| `folder.py` | a run's folder, read |
| `curves.py` | learning curves with bands |
| `records.py`, `payload.py` | trajectories as the page reads them |
| `html.py`, `page/` | one self-contained file |
| `server.py` | the same, live |
| `plot.py` | PNG, SVG, PDF for papers |
| `diff.py` | two runs: settings, metrics, wins and losses by task |

Nothing here trains; torch is imported only where credit is worked out anew.
"""
