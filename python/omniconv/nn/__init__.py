"""Modules and operations that models are made of: see `omniconv.nn.Module` and `omniconv.nn.functional`."""

from omniconv.nn import complex, functional
from omniconv.nn.attention import *  # noqa: F403
from omniconv.nn.attention import __all__ as _attention_all
from omniconv.nn.layers import *  # noqa: F403
from omniconv.nn.layers import __all__ as _layers_all
from omniconv.nn.loading import load_state_dict, read_state, save_state
from omniconv.nn.masked import *  # noqa: F403
from omniconv.nn.masked import __all__ as _masked_all
from omniconv.nn.module import *  # noqa: F403
from omniconv.nn.module import __all__ as _module_all
from omniconv.nn.orthogonality import *  # noqa: F403
from omniconv.nn.orthogonality import __all__ as _orthogonality_all
from omniconv.nn.pooling import *  # noqa: F403
from omniconv.nn.pooling import __all__ as _pooling_all
from omniconv.nn.scaling import Scaled, scale
from omniconv.nn.summary import Cost, Summary, summary
from omniconv.nn.tokens import *  # noqa: F403
from omniconv.nn.tokens import __all__ as _tokens_all
from omniconv.nn.windows import *  # noqa: F403
from omniconv.nn.windows import __all__ as _windows_all

__all__ = [
    "Scaled", "complex", "scale", *_orthogonality_all, *_tokens_all, *_windows_all,
    "Cost", "Summary", "functional", "load_state_dict", "read_state", "save_state", "summary",
    *_attention_all, *_layers_all, *_masked_all, *_module_all, *_pooling_all,
]  # fmt: skip
