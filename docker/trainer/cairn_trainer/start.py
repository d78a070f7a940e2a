"""`python -I start.py MODULE ARGUMENTS...`: runs a module of this package, or a program by its path, as `python -m` would.

Python's isolated mode does not import from the current folder, PYTHONPATH or the user's site-packages, where a file with the name of one
    of our modules would run; so it does not find this package either, until its folder is added here.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    del sys.argv[0]
    if sys.argv[0].endswith('.py'):
        sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
        runpy.run_path(sys.argv[0], run_name='__main__')
    else:
        runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
