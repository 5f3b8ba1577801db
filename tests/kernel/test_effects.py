"""The effects lattice."""

from hypothesis import given
from hypothesis import strategies as st

from inhabit.contracts.effects import UNKNOWN_EFFECTS, Effects
from inhabit.kernel.effects import READS, TRUST, WRITES, no_more_than, worst

EFFECTS = st.builds(Effects, st.sampled_from(READS), st.sampled_from(TRUST), st.sampled_from(WRITES), st.booleans(), st.booleans())


@given(EFFECTS, EFFECTS, EFFECTS)
def test_worst_is_a_join(a: Effects, b: Effects, c: Effects) -> None:
    assert worst(a, a) == a
    assert worst(a, b) == worst(b, a)
    assert worst(worst(a, b), c) == worst(a, worst(b, c))
    assert no_more_than(a, worst(a, b))


@given(EFFECTS)
def test_unknown_is_the_most_dangerous(effects: Effects) -> None:
    assert worst(effects, UNKNOWN_EFFECTS) == UNKNOWN_EFFECTS
    assert no_more_than(effects, UNKNOWN_EFFECTS)


def test_no_more_than_refuses_each_respect() -> None:
    low = Effects("none", "trusted", "none", False, True)
    for other in (Effects("public", "trusted", "none", False), Effects("none", "untrusted", "none", False),
                  Effects("none", "trusted", "internal", False), Effects("none", "trusted", "none", True)):
        assert not no_more_than(other, low)
    assert no_more_than(Effects("none", "trusted", "none", False, False), low)
    assert low.may_write is False and UNKNOWN_EFFECTS.may_write is True
