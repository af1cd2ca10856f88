"""What the pipeline's lock guards, where the lanes alone do not decide."""

import pytest

from otel_sgp_exporter._config import ProcessorConfig
from otel_sgp_exporter._delivery import Returned
from otel_sgp_exporter._outcome import Action, DropReason, Verdict
from otel_sgp_exporter._record import Phase, Record, snapshot
from otel_sgp_exporter._state import State
from support import ended_span

UNREACHABLE = Verdict(Action.RETRY, why="nobody there", reason=DropReason.BUDGET_SPENT)


def record(phase: Phase) -> Record:
    made = snapshot(phase, ended_span(1))
    assert made is not None
    return made


@pytest.mark.parametrize("phase", [Phase.START, Phase.END])
def test_what_a_sender_returns_to_a_closed_pipeline_is_counted(phase: Phase) -> None:
    """Nobody would take it from the queue any more."""
    state = State(ProcessorConfig.from_env(schedule_delay_millis=1))
    state.admit(record(phase), 0)
    taken = state.take(1, 1_000_000)
    assert taken is not None
    state.closed = True
    state.happened(Returned(taken[0], UNREACHABLE), 2)
    stats = state.stats()
    assert (stats.pending, stats.dropped) == (0, 1)
