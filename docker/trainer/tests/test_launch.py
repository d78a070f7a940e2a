"""The programs as started by an agent: new processes, the real torchrun, the real backbone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import Collection, StageRun, exit_code_of, fork, wait_until

from cairn_trainer import launch

ROOT = Path(__file__).parents[1]
MODEL = {'backbone': 'resnet18', 'embeddingDim': 16, 'gemPower': 3, 'initSeed': 1}


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path / 'data', landmarks=4, views=4)


def _start(*arguments, folder):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    with (folder / 'log').open('w') as log:
        return subprocess.Popen([sys.executable, '-m', *arguments], env=environment, cwd=folder, stdout=log, stderr=log)


def _is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().split(')')[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_launcher_trains_shows_its_stacks_when_asked_and_takes_its_ranks_along_when_it_is_killed(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=200, model=MODEL, loaderWorkers=1)
    launcher = _start('cairn_trainer.launch', *run.launch_arguments(), folder=run.folder)
    wait_until(lambda: run.events('step'), 'a step')
    family = _descendants(launcher.pid)
    assert len(family) == 4  # two ranks, each with a loader
    launcher.send_signal(signal.SIGUSR1)
    wait_until(lambda: (run.folder / 'log').read_text().count('most recent call first') >= 2, 'the stacks of both ranks')
    steps = len(run.events('step'))
    wait_until(lambda: len(run.events('step')) > steps, 'another step')
    launcher.kill()
    launcher.wait(10)
    wait_until(lambda: not any(map(_is_alive, family)), 'the end of the ranks and their loaders')


def test_ranks_that_are_started_as_new_processes_are_isolated_like_their_launcher(tmp_path, collection, monkeypatch):
    run = StageRun(tmp_path / 'run', collection, epochs=1, batch=8, model=MODEL)
    for name in ('pyarrow', 'torch', 'cairn_trainer'):
        (tmp_path / f'{name}.py').write_text(f'open({str(tmp_path / "harmed")!r}, "w")')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(launch, '_may_fork', lambda: False)  # as on a machine with a GPU
    assert exit_code_of(fork(launch.main, run.launch_arguments())) == 0
    assert run.events('finished')
    assert not (tmp_path / 'harmed').exists()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_of_the_whole_process_group_saves_a_checkpoint_though_it_reaches_the_loaders_too(tmp_path, collection, number):
    # As Slurm and systemd send SIGTERM, and a closed terminal SIGHUP.
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=200, loaderWorkers=2)
    launcher = run.start()
    wait_until(lambda: run.events('step'), 'a step')
    family = _descendants(launcher.pid)
    assert len(family) == 6
    for process in [*reversed(family), launcher.pid]:
        os.kill(process, number)
    assert exit_code_of(launcher) == 75
    assert [event['event'] for event in run.events()][-2:] == ['checkpoint', 'preempted']


@pytest.mark.parametrize(
    ('number', 'words'), [(signal.SIGKILL, 'was killed by SIGKILL'), (signal.SIGSTOP, 'No batch of images arrived within 3 s')]
)
def test_a_killed_or_hanging_loader_ends_the_stage_with_its_reason(tmp_path, collection, monkeypatch, number, words):
    monkeypatch.setattr('cairn_trainer.loaders._STUCK_SECONDS', 3)
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=200, loaderWorkers=1)
    process = run.start()
    wait_until(lambda: run.events('step'), 'a step')
    rank = _children(process.pid)[1]
    os.kill(_children(rank)[0], number)
    assert exit_code_of(process) == 70
    (failed,) = run.events('failed')
    assert failed['code'] == 'program_failed'
    assert words in failed['message']


def test_the_launcher_dies_with_its_parent(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=200, model=MODEL)
    code = f'import subprocess, sys; subprocess.run([sys.executable, "-m", "cairn_trainer.launch", *{run.launch_arguments()!r}])'
    script = tmp_path / 'parent.py'
    script.write_text(code)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: run.events('step'), 'a step')
    family = _descendants(parent.pid)
    assert len(family) == 3
    parent.kill()
    parent.wait(10)
    wait_until(lambda: not any(map(_is_alive, family)), 'the end of launcher and ranks')


@pytest.mark.slow
def test_plain_torchrun_trains_too_and_sigterm_ends_it_as_preempted(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=200, model=MODEL)
    torchrun = _start('torch.distributed.run', *run.launch_arguments(), folder=run.folder)
    wait_until(lambda: run.events('step'), 'a step')
    torchrun.send_signal(signal.SIGTERM)
    assert torchrun.wait(30) != 0
    assert [event['event'] for event in run.events()][-2:] == ['checkpoint', 'preempted']


def test_a_single_rank_needs_no_launcher_and_does_not_import_export_modules(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, epochs=1, batch=8, model=MODEL)
    code = (
        'import sys\n'
        'from cairn_trainer.__main__ import main\n'
        f'code = main(["--config", {str(run.config_path)!r}])\n'
        # Each would add seconds to the start of every rank.
        'print(code, [name for name in ("torchvision", "onnx", "timm") if name in sys.modules])'
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    found = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines()[-1] == '0 []'
    assert run.events('finished')


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f'/proc/{pid}/task').iterdir() for child in (task / 'children').read_text().split()]


def _descendants(pid: int) -> list[int]:
    children = _children(pid)
    return children + [grandchild for child in children for grandchild in _descendants(child)]
