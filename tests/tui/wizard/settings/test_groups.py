"""Every setting is in one group, and every group can be told in a line."""

from fitune.tui.wizard.fields import all_fields, form_fields
from fitune.tui.wizard.settings.groups import ELSEWHERE, GROUPS, group_of


def test_each_setting_is_in_one_group_or_asked_elsewhere() -> None:
    grouped = [name for group in GROUPS for name in group.fields]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == set(all_fields()) - set(ELSEWHERE)
    assert [field.name for field in form_fields(folded=False)] == grouped


def test_each_group_has_a_title_and_a_sentence() -> None:
    assert all(group.title and group.about.endswith(".") for group in GROUPS)
    assert group_of("train.max_steps") is not None
    assert group_of("data.source") is None
