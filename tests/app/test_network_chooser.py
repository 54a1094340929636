"""The search for networks: names at once, costs after them, and a later query ends an earlier one."""

from __future__ import annotations

import re
from typing import Any, cast

from processes import StandInWorker

from app.network_chooser import Handlers
from app.worker import Worker
from kdengine.errors import KdError
from kdengine.evaluation import networks

FOUND = {"count": 50, "names": [f"net{number}" for number in range(20)], "summaries": {"net0": "small & <fast>"}}


def handlers(**results: Any) -> tuple[Handlers, StandInWorker]:
    process = StandInWorker(**results)
    return Handlers(cast(Worker, process)), process


def test_names_come_before_their_costs() -> None:
    page, process = handlers(find_networks=FOUND, network_costs={"net0": (272_474, 10_203_776), "net1": None})
    first, second, *_ = page.search("net", "panel", 16.0, "here")
    assert first.count("data-network") == 20 and first.count("…") == 20 and "and 30 more" in first
    assert "272.5 k parameters, 10.2 M MACs" in second and "small &amp; &lt;fast&gt;" in second
    assert re.search('data-network="net1" disabled.*?not at this size', second)
    assert process.calls[1] == ("network_costs", FOUND["names"][:8], 16)


def test_a_later_query_of_the_same_panel_ends_the_costs_of_the_earlier() -> None:
    page, process = handlers(find_networks=FOUND, network_costs={})
    earlier, elsewhere = page.search("net", "panel", None, "here"), page.search("net", "panel", None, "there")
    next(earlier), next(elsewhere)
    next(page.search("net1", "panel", None, "here"))
    before = len(process.calls)
    assert list(earlier) == [] and len(process.calls) == before
    assert len(list(elsewhere)) == 3


def test_what_goes_wrong_is_said_in_the_panel() -> None:
    page, _ = handlers(find_networks=KdError("the computation died"))
    (said,) = page.search("net", "panel", None, "here")
    assert 'data-for="panel"' in said and "the computation died" in said


def test_networks_are_found_by_all_words_and_cost_what_they_cost() -> None:
    found = networks.find("TIMM resnet10t")
    assert found[0] == "timm/resnet10t" and all("timm" in name for name in found)
    assert networks.find("no such network") == []
    cost = networks.cost("resnet20", 10, 32)
    assert cost is not None and cost.parameters == 272_474
    assert networks.cost("resnet20", 100, 32).parameters == 272_474 + 90 * 65  # type: ignore[union-attr]
    assert networks.cost("timm/no_such_network", 10, 32) is None
