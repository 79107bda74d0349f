"""Print, as JSON, how long `import scgrn_tl` takes once anndata is there, and whether it brought torch."""

import json
import sys
import time

import anndata  # noqa: F401

began = time.perf_counter()
import scgrn_tl  # noqa: E402, F401

print(json.dumps({"seconds": time.perf_counter() - began, "torch": "torch" in sys.modules}))
