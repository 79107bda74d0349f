"""What type checkers see of :mod:`scgrn_tl`, and what its ``__getattr__`` loads on first use."""

from . import bm as bm
from . import core as core
from . import datasets as datasets
from . import get as get
from . import io as io
from . import methods as methods
from . import models as models
from . import pl as pl
from . import pp as pp
from . import tl as tl
from ._settings import settings as settings
from .core.errors import ScgrnError as ScgrnError

__version__: str
