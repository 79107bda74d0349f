"""``python -m scgrn_tl``: the same as the ``scgrn-tl`` command."""

import sys

from .cli import main

sys.exit(main())
