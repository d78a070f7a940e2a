import json
import subprocess
import sys
from pathlib import Path

import pytest
from builders import Collection, StageRun, configure_export

from cairn_trainer.config import events_path_of, read_exporter_config, read_trainer_config, settings_of_result
from cairn_trainer.errors import TrainerError


@pytest.fixture
def run(tmp_path):
    return StageRun(tmp_path / 'run', Collection(tmp_path / 'data', landmarks=2, views=2))


def _rewrite(run, change):
    change(run.config)
    run.config_path.write_text(json.dumps(run.config))
    return run.config_path


def test_camel_case_becomes_snake_case_and_unknown_keys_are_ignored(run):
    path = _rewrite(run, lambda config: config.update(newer={'a': 1}))
    config = read_trainer_config(path)
    assert config.settings.image_size == 32
    assert config.settings.weight_decay == 5e-4
    assert config.model.init_seed == 1
    assert config.stop_path.endswith('/stop')


def test_the_example_of_the_documentation_is_a_stage_of_the_reference(tmp_path):
    page = (Path(__file__).parents[3] / 'docs/trainer.md').read_text(encoding='utf-8')
    example = page.split('```json\n')[1].split('```')[0]
    (tmp_path / 'stage.json').write_text(example, encoding='utf-8')
    config = read_trainer_config(tmp_path / 'stage.json')
    assert (config.classes, config.list.rows, config.settings.images_per_step) == (81_313, 1_580_470, 1024)
    assert (config.settings.sampler, config.settings.erasing, config.settings.scale) == ('softmax', 1, 30)


def test_every_fault_is_named_at_once(run):
    def change(config):
        config['settings'].update(batch=1, sampler='random', learningRate=0, epochs=1.5, margin='wide', compile=1, precision='fp8')
        config['list'] = None
        del config['outputDir']

    with pytest.raises(TrainerError) as caught:
        read_trainer_config(_rewrite(run, change))
    assert caught.value.code == 'invalid_configuration'
    assert caught.value.exit_code == 78
    for fault in (
        'settings.batch is 1; it must be at least 2',
        "settings.sampler is 'random'; it must be one of softmax, gld, id_uniform",
        'settings.compile is 1; it must be true or false',
        "settings.precision is 'fp8'; it must be one of fp32, fp16, bf16",
        'settings.learningRate is 0; it must be greater than 0',
        'settings.epochs is 1.5; it must be a whole number',
        "settings.margin is 'wide'; it must be a number",
        'list must be an object',
        'outputDir is missing',
    ):
        assert fault in str(caught.value)


def test_scales_are_a_list_of_numbers_in_their_range(tmp_path, run):
    path = configure_export(
        tmp_path / 'export',
        Collection(tmp_path / 'others', landmarks=1, views=2),
        {'path': 'checkpoint.pt', 'sha256': '0'},
        scales=[0.707, 1, 3],
    )
    with pytest.raises(TrainerError, match=r'settings\.scales\.2 is 3; it must be at most 2'):
        read_exporter_config(path)


def test_another_protocol_is_rejected(run):
    with pytest.raises(TrainerError, match='uses protocol 2; this trainer uses 1') as caught:
        read_trainer_config(_rewrite(run, lambda config: config.update(protocol=2)))
    assert caught.value.code == 'protocol_mismatch'


def test_settings_that_contradict_each_other_are_named_together(run):
    def change(config):
        config['settings'].update(evaluate='end', effectiveBatch=9, lastEpoch=3, sampler='id_uniform', weights='resnet50-19c8e357')

    with pytest.raises(TrainerError) as caught:
        read_trainer_config(_rewrite(run, change))
    for fault in (
        'evaluate is end, but evaluation is null',
        'effectiveBatch is 9; it must be a multiple of batch x ranks, 2 x 1 = 2',
        'lastEpoch is 3, but settings.epochs is 2',
        'batch is 2; the sampler id_uniform needs a multiple of imagesPerId, 4',
        'weights is resnet50-19c8e357, but weights is null',
    ):
        assert fault in str(caught.value)


def test_a_step_is_made_of_as_many_batches_as_the_effective_batch_asks_for(run):
    path = _rewrite(run, lambda config: config['settings'].update(batch=4, ranks=2, effectiveBatch=24))
    settings = read_trainer_config(path).settings
    assert (settings.images_per_step, settings.batches_per_step) == (24, 3)
    plain = read_trainer_config(_rewrite(run, lambda config: config['settings'].update(effectiveBatch=None))).settings
    assert (plain.images_per_step, plain.batches_per_step) == (8, 1)


@pytest.mark.parametrize('content', ['', '[1]', '{"a":'])
def test_a_configuration_that_is_not_a_json_object_is_rejected(tmp_path, content):
    path = tmp_path / 'stage.json'
    path.write_text(content)
    assert events_path_of(path) is None
    with pytest.raises(TrainerError) as caught:
        read_trainer_config(path)
    assert caught.value.exit_code == 78


def test_only_settings_that_change_the_result_tie_a_checkpoint_to_its_stage(run):
    config = read_trainer_config(run.config_path)
    settings = settings_of_result(config.settings, config.model)
    assert {'learningRate', 'imagesPerStep', 'backbone', 'seed', 'precision'} <= settings.keys()
    assert (
        not {
            'batch',
            'ranks',
            'channelsLast',
            'compile',
            'loaderWorkers',
            'threadsPerRank',
            'logEverySteps',
            'evaluate',
            'checkpointEveryMinutes',
        }
        & settings.keys()
    )


def test_the_version_prints_the_protocol_without_importing_torch():
    code = (
        'import sys\n'
        'from cairn_trainer.__main__ import main\n'
        'try: main(["--version"])\n'
        'except SystemExit as end: print(end.code, "torch" in sys.modules)'
    )
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert found.stdout == 'cairn_trainer protocol 1\n0 False\n'
