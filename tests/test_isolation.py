"""Finding what is wrong in a batch: how many requests it costs, and what it must not cost."""

import pytest

from otel_sgp_exporter._outcome import DELIVERED
from test_delivery import REFUSED, Run, records, refuses

SPANS = 200


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("every", [4, 5, 10, 25, 50, 100])
def test_bad_spans_in_step_with_the_halving_cost_only_themselves(every: int, offset: int, status: int) -> None:
    """An agent that goes round in circles makes the same bad span at the same place of every round."""
    bad = {str(number) for number in range(offset, SPANS, every)}
    run = Run(refuses(*bad, status=status), records(SPANS))
    assert run.ended(REFUSED) == bad
    assert len(run.ended(DELIVERED)) == SPANS - len(bad)


def test_bad_spans_side_by_side_cost_only_themselves() -> None:
    """The first round of an agent may be bad as a whole."""
    bad = {str(number) for number in range(40)}
    run = Run(refuses(*bad), records(SPANS))
    assert run.ended(REFUSED) == bad
    assert len(run.ended(DELIVERED)) == SPANS - len(bad)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 17, 200, 1000])
def test_a_fault_common_to_all_costs_few_requests(count: int) -> None:
    """About log2 n to the first record that stands alone, then eight more of those."""
    run = Run(lambda sent: 422, records(count))
    assert len(run.ended(REFUSED)) == count
    assert len(run.requests) <= 20 + min(count, 17)
    names = [names[0] for names in run.requests if len(names) == 1]
    assert len(names) == len(set(names)), "none is tried twice"


def test_requests_stay_within_their_bytes() -> None:
    """Looking elsewhere does not put together again what was packed apart."""
    batch = records(40, attributes={"text": "some text " * 1000})
    run = Run(lambda sent: 422, batch, max_request_bytes=100_000)
    assert max(sent.size for sent in run.transport.attempts) <= 100_000
    assert len(run.ended(REFUSED)) == 40
