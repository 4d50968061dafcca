"""`python -m xstilts.evaluation`: scores a folder of XTREME predictions against a folder of labels."""

from __future__ import annotations

import sys

from xstilts.evaluation.official import main

if __name__ == "__main__":
    sys.exit(main())
