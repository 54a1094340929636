"""One file per method. Importing this package registers the built-in ones."""

from kdengine.methods import at, byot, dcad, dist, dkd, kd, kd_standardized, none, rkd  # noqa: F401
from kdengine.methods.base import Context, Method, Needs, Term, get_method, list_methods, register

__all__ = ["Context", "Method", "Needs", "Term", "get_method", "list_methods", "register"]
