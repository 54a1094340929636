"""One file per method. Importing this package registers the built-in ones."""

from kdengine.methods import (  # noqa: F401
    ama_self,
    at,
    byot,
    dcad,
    dist,
    dkd,
    frskd,
    fusion_self,
    grkd,
    kd,
    kd_standardized,
    light_self,
    none,
    rkd,
)
from kdengine.methods.base import Context, Method, Needs, Term, get_method, list_methods, register

__all__ = ["Context", "Method", "Needs", "Term", "get_method", "list_methods", "register"]
