"""What every method promises, over all registered ones: a new method is tested the moment it is registered."""

from __future__ import annotations

import pytest

from kdengine.methods import list_methods
from kdengine.testing import METHOD_CHECKS
from kdengine.testing.method_checks import Check


@pytest.mark.parametrize("name", list_methods())
@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
def test_method(check: Check, name: str) -> None:
    check(name)
