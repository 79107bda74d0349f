"""Where a verb reads and writes; see :mod:`scgrn_tl.core.slots`."""

from scgrn_tl.core.slots import Slots, check_key, clean_name, open_anndata, run_record, write_slots

__all__ = ["Slots", "check_key", "clean_name", "open_anndata", "run_record", "write_slots"]
