"""One file per method. Importing this package registers the built-in ones, in the order in which lists show them."""

# ruff: noqa: F401, I001  (the order is the point: baseline, answers, features, relations, the student by itself)
from kdengine.methods import (
    none,
    kd,
    kd_standardized,
    dkd,
    dcad,
    dist,
    multi_level,
    fitnet,
    at,
    review_kd,
    crd,
    sim_kd,
    rkd,
    sp,
    grkd,
    tf_kd,
    cs_kd,
    ps_kd,
    dlb,
    byot,
    light_self,
    fusion_self,
    frskd,
    ama_self,
    mix_skd,
)
from kdengine.methods.base import Context, Method, Needs, Term, get_method, list_methods, register

__all__ = ["Context", "Method", "Needs", "Term", "get_method", "list_methods", "register"]
