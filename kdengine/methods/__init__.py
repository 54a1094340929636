"""One file per method, and all that an author of one needs: ``from kdengine.methods import ...``.

Importing this package registers the built-in methods, in the order in which lists show them. What they share stands in
the files that begin with an underscore; other packages take it from here.
"""

# ruff: noqa: F401, I001  (the order is the point: baseline, logits, features, relations, the student by itself)
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
from kdengine.errors import BadInput, Problem
from kdengine.spec.fields import NoSettings, Settings, setting
from kdengine.methods import _renamed
from kdengine.methods._hypergradient import hyper_gradient
from kdengine.methods._inspecting import attention_array
from kdengine.methods._memory import check_memory
from kdengine.methods._page import in_page, settings_table
from kdengine.methods._settings import (
    group_setting,
    label_weight_setting,
    share_setting,
    temperature_setting,
    warm_up_setting,
    weight_setting,
)
from kdengine.methods._stages import StagePair, pair_stages
from kdengine.methods._taught import TaughtMethod
from kdengine.methods._warm_up import warm_up
from kdengine.methods.base import (
    BatchLike,
    Context,
    Exit,
    InspectedArray,
    Method,
    Needs,
    Network,
    StepContext,
    Term,
    get_method,
    list_methods,
    register,
)
from kdengine.models.backbone import Backbone, Outputs, Shapes, evaluating

__all__ = [
    "Backbone",
    "BadInput",
    "BatchLike",
    "Context",
    "Exit",
    "InspectedArray",
    "Method",
    "Needs",
    "Network",
    "NoSettings",
    "Outputs",
    "Problem",
    "Settings",
    "Shapes",
    "StagePair",
    "StepContext",
    "TaughtMethod",
    "Term",
    "attention_array",
    "check_memory",
    "evaluating",
    "get_method",
    "group_setting",
    "hyper_gradient",
    "in_page",
    "label_weight_setting",
    "list_methods",
    "pair_stages",
    "register",
    "setting",
    "settings_table",
    "share_setting",
    "temperature_setting",
    "warm_up",
    "warm_up_setting",
    "weight_setting",
]

_renamed.keep_module("kdengine.methods.look_ahead", {"hyper_gradient": hyper_gradient})
_renamed.keep_module("kdengine.methods.memory", {"check_memory": check_memory})
