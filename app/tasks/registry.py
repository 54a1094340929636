"""Every task by the name that a worker is called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.tasks import compare, demo, inspect, launch, networks, race, runs, studies, teachers, warming

TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task
    for task in (
        *(warming.warm, warming.prepare_tracking),
        *(launch.samples, launch.check, launch.forecast, launch.compiling, launch.launch, launch.method_costs),
        *(networks.find_networks, networks.network_costs),
        *(teachers.import_teacher, teachers.check_teacher),
        *(compare.begin_comparison, compare.resume_comparison),
        *(compare.extend_comparison, compare.measure_comparison),
        *(race.weigh_race, race.begin_race),
        *(studies.begin_study, studies.confirm_study),
        *(inspect.what_to_inspect, inspect.inspect),
        *(demo.classify, demo.classify_all, demo.examples, demo.test_image),
        runs.export,
    )
}
