"""Methods that hand all their parameters on to another method, with its defaults or with others."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["with_parameters_of"]


def with_parameters_of(
    model: Callable[..., Any], **defaults: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a function that hands all its parameters on to ``model`` the signature of ``model``.

    Parameters
    ----------
    model
        The other method's function.
    **defaults
        Parameters of it that have another default here.
    """
    signature = inspect.signature(model)
    parameters = [
        parameter.replace(default=defaults.get(name, parameter.default))
        for name, parameter in signature.parameters.items()
    ]

    def sign(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return sign
