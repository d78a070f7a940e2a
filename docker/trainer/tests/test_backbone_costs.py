import json
from pathlib import Path

import pytest
from backbone_costs import costs_of

from cairn_trainer.backbones import BACKBONES

TABLE = json.loads((Path(__file__).parents[3] / 'libs' / 'domain' / 'backbone-costs.json').read_text())


@pytest.mark.parametrize('backbone', TABLE)
def test_the_table_of_backbone_costs_is_current(backbone):
    assert TABLE[backbone] == {**costs_of(backbone), 'channels': BACKBONES[backbone].channels}


def test_every_backbone_but_those_of_tests_is_in_the_table():
    assert set(TABLE) == set(BACKBONES) - {'small'}
