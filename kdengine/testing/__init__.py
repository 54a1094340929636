"""For authors of methods: `check_method` tries all that every method promises, as scikit-learn's ``check_estimator``.

    from kdengine.testing import check_method
    check_method("trusting_kd")

or, in a test, one case for each promise::

    @pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
    def test_method(check):
        check("trusting_kd")
"""

from kdengine.testing.method_checks import METHOD_CHECKS, check_method
from kdengine.testing.trial import TinyNet, Trial, TrialBatch, total, trial_of

__all__ = ["METHOD_CHECKS", "TinyNet", "Trial", "TrialBatch", "check_method", "total", "trial_of"]
