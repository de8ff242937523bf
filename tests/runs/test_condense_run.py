"""Runs in a folder: whatever stops them, and whenever, they go on to the same pixels."""

import errno
import json
import os
import random
import resource
import signal
import threading
from contextlib import contextmanager

import pytest
import torch
from damage import with_bit_flipped
from PIL import Image

from dm_replay.condensed.image_set import ImageSet
from dm_replay.data.pool import TensorPool
from dm_replay.data.registry import Dataset, DatasetSpec
from dm_replay.matching.condense import condense
from dm_replay.matching.config import CondenseConfig
from dm_replay.runs.jobs import condense_run
from dm_replay.runs.recorder import Interrupted, LossLog, RunRecorder
from dm_replay.runs.run_folder import RunFolder
from dm_replay.runtime.files import locked, save_sealed

CONFIG = CondenseConfig.preset(
    "paper", ipc=2, iterations=6, batch_real=4, network="convnet:width=4,depth=1", device="cpu", compile="no"
)


@pytest.fixture
def dataset(pool):
    spec = DatasetSpec("noise", pool.shape, ("a", "b", "c"), pool.mean, pool.std, False)
    return Dataset(pool, pool, spec)


@pytest.fixture
def straight(dataset):
    """The images of an undisturbed run with seed 3."""
    return condense(dataset.train, CONFIG, seed=3).images


@pytest.fixture
def run(dataset, tmp_path):
    """``run(**options)`` condenses in tmp_path/run, by default with a checkpoint after every iteration."""

    def start(config=CONFIG, **options):
        options = {"seed": 3, "snapshots": 2, "checkpoint_seconds": 0, "quiet": True, **options}
        return condense_run(tmp_path / "run", dataset, config, **options)

    return start


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


SNAPSHOTS = [f"images/iter_00000{iteration}.png" for iteration in (1, 3, 6)]
FINISHED = ["condensed.pt", *SNAPSHOTS, "run.json"]


@contextmanager
def files_of_at_most(size):
    """A write beyond that fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def ctrl_c_in(monkeypatch, owner, name, call, times=1):
    """Press Ctrl-C while ``owner.name`` is called for the ``call``-th time."""
    calls, original = [], getattr(owner, name)

    def pressed(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, pressed)
        yield


def test_a_finished_run(run, straight, tmp_path):
    result = run()
    folder = tmp_path / "run"
    assert files(folder) == FINISHED
    stored = ImageSet.load(folder / "condensed.pt")
    assert torch.equal(result.images, straight) and torch.equal(stored.images, straight)
    assert stored.meta["dataset"] == "noise" and stored.meta["mean"] == pytest.approx([0.5, 0.4, 0.3])

    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished" and record["iterations_done"] == len(record["losses"]) == 6
    assert record["settings"]["seed"] == 3 and record["settings"]["ipc"] == 2
    assert record["settings"]["dataset"] == "noise" and record["settings"]["real_images"] == 28
    assert record["stored_bytes"] == stored.nbytes == 6 * 3 * 8 * 8 * 4
    assert set(record["versions"]) == {"dm_replay", "python", "torch", "torchvision", "numpy"}
    assert 0 < record["timings"]["seconds_per_iteration"] < record["timings"]["total_seconds"]
    assert "commit" in record and "threads" in record["device"]


def test_losses_are_those_of_condense(run, dataset, tmp_path):
    losses = []
    condense(dataset.train, CONFIG, seed=3, on_step=lambda step: losses.append(float(step.loss)))
    run()
    assert RunFolder(tmp_path / "run").read_record()["losses"] == pytest.approx(losses, rel=1e-5)


def test_snapshots_show_the_images_of_their_iteration(run, tmp_path):
    run(snapshots=6)
    shots = RunFolder(tmp_path / "run").snapshots
    assert len(shots) == 6 and len({path.read_bytes() for path in shots}) == 6
    with Image.open(shots[-1]) as picture:
        assert picture.height >= 3 * 48
    run(snapshots=0, overwrite=True)
    assert not RunFolder(tmp_path / "run").snapshots


def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_pixels(run, straight, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    handler = signal.getsignal(signal.SIGINT)
    with ctrl_c_in(monkeypatch, LossLog, "note", 4), pytest.raises(Interrupted, match="iteration 4 of 6"):
        run(checkpoint_seconds=60)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not folder.finished and folder.read_record()["status"] == "interrupted"
    assert folder.read_record()["iterations_done"] == 4
    earlier = folder.read_record()["losses"]

    assert torch.equal(run(resume=True).images, straight)
    assert files(folder.path) == FINISHED
    assert folder.read_record()["losses"][:4] == earlier and len(folder.read_record()["losses"]) == 6


def test_an_interrupted_run_of_seconds_says_how_many_are_over(run, monkeypatch):
    bounded = CondenseConfig.preset("paper", **{**vars(CONFIG), "seconds": 1e6, "iterations": 2})
    with ctrl_c_in(monkeypatch, LossLog, "note", 4), pytest.raises(Interrupted) as caught:
        run(bounded)
    assert str(caught.value) == "stopped after iteration 4, 0 % of 1e+06 seconds"


def test_a_second_ctrl_c_while_saving_is_ignored(run, straight, tmp_path, monkeypatch):
    with (
        ctrl_c_in(monkeypatch, LossLog, "note", 3),
        ctrl_c_in(monkeypatch, torch, "save", 1, times=2),
        pytest.raises(Interrupted),
    ):
        run(checkpoint_seconds=60)
    assert files(tmp_path / "run") == ["checkpoint.pt", *SNAPSHOTS[:2], "run.json"]
    assert torch.equal(run(resume=True).images, straight)


def test_a_second_ctrl_c_before_the_iteration_ends_stops_at_once(run, straight, tmp_path, monkeypatch):
    with ctrl_c_in(monkeypatch, LossLog, "note", 4, times=2), pytest.raises(KeyboardInterrupt) as caught:
        run()
    assert not isinstance(caught.value, Interrupted)
    checkpoint = RunFolder(tmp_path / "run").read_checkpoint()
    assert checkpoint["state"]["iteration"] == 3
    assert torch.equal(run(resume=True).images, straight)


def test_ctrl_c_in_the_last_iteration(run, straight, monkeypatch):
    with ctrl_c_in(monkeypatch, LossLog, "note", 6), pytest.raises(Interrupted):
        run()
    assert torch.equal(run(resume=True).images, straight)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(1, 12))
def test_killed_at_any_replacement_of_a_file(run, straight, tmp_path, monkeypatch, moment):
    """A process dies just before its n-th file takes its place, or just after."""
    for after in (False, True):
        count, replace = [], os.replace

        def dying(source, target, count=count, after=after, replace=replace):
            count.append(1)
            if len(count) == moment and not after:
                raise Killed
            replace(source, target)
            if len(count) == moment:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, "replace", dying)
            run(overwrite=True)
        folder = RunFolder(tmp_path / "run")
        if folder.read_record().get("status") == "finished":
            assert torch.equal(ImageSet.load(folder.condensed).images, straight)
        assert torch.equal(run(resume=True).images, straight)
        assert files(tmp_path / "run") == FINISHED
        assert folder.read_record()["status"] == "finished"
        assert len(RunFolder(tmp_path / "run").read_record()["losses"]) == 6


def test_what_a_killed_process_left_is_swept(run, tmp_path):
    folder = tmp_path / "run"
    (folder / "images").mkdir(parents=True)
    left = [".checkpoint-ab12.pt", ".condensed-x.pt", ".run-y.json", "images/.iter_000001-z.png"]
    for name in [*left, "mine.txt"]:
        (folder / name).write_text("")
    run()
    assert files(folder) == [*FINISHED[:-1], "mine.txt", "run.json"]


def test_resume_without_a_run_begins_one_and_of_a_finished_one_returns_it(run, straight, tmp_path):
    assert torch.equal(run(resume=True).images, straight)
    written = (tmp_path / "run" / "condensed.pt").stat().st_mtime_ns
    assert torch.equal(run(resume=True).images, straight)
    assert (tmp_path / "run" / "condensed.pt").stat().st_mtime_ns == written


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"ipc": 1}, "ipc 1: it was begun with 2"),
        ({"lr_img": 0.5}, "lr_img 0.5"),
        ({"iterations": 7}, "it.* 7"),
    ],
)
def test_resuming_with_other_settings_names_the_one_that_differs(run, monkeypatch, finished, other, named):
    if finished:
        run()
    else:
        with ctrl_c_in(monkeypatch, LossLog, "note", 2), pytest.raises(Interrupted):
            run()
    with pytest.raises(ValueError, match=f"cannot resume .* with {named}"):
        run(CondenseConfig.preset("paper", **{**vars(CONFIG), **other}), resume=True)
    with pytest.raises(ValueError, match="cannot resume .* with seed 4: it was begun with 3"):
        run(resume=True, seed=4)


def test_a_run_is_never_overwritten_unasked(run, tmp_path, monkeypatch):
    with ctrl_c_in(monkeypatch, LossLog, "note", 2), pytest.raises(Interrupted):
        run()
    with pytest.raises(ValueError, match="holds an unfinished run; go on with --resume .* --overwrite"):
        run()
    run(resume=True)
    with pytest.raises(ValueError, match="holds a finished run"):
        run()
    with pytest.raises(ValueError, match="exclude each other"):
        run(resume=True, overwrite=True)
    (tmp_path / "run" / "mine.txt").write_text("")
    assert not torch.equal(run(overwrite=True, seed=5).images, run(overwrite=True, seed=6).images)
    assert (tmp_path / "run" / "mine.txt").exists()


def test_an_error_before_the_first_iteration_leaves_everything_as_it_was(run, tmp_path):
    greedy = CondenseConfig.preset("paper", **{**vars(CONFIG), "ipc": 8})
    with pytest.raises(ValueError, match="class 2 has 7 real images"):
        run(greedy)
    assert not (tmp_path / "run").exists()
    run()
    with pytest.raises(ValueError, match="class 2 has 7 real images"):
        run(greedy, overwrite=True)
    assert files(tmp_path / "run") == FINISHED


@pytest.mark.parametrize("options", [{"snapshots": 2}, {"checkpoint_seconds": 0}, {"checkpoint_seconds": 60}], ids=str)
def test_full_disk(run, straight, tmp_path, options):
    """No room for a snapshot, a checkpoint, the result: what is there stays whole, and the run can go on."""
    with files_of_at_most(3_000), pytest.raises(OSError) as caught:
        run(**{"snapshots": 0, **options})
    assert "is the disk full" in str(caught.value) or caught.value.errno
    assert files(tmp_path / "run") == ["run.json"]
    assert RunFolder(tmp_path / "run").read_record()["status"] == "running"
    assert torch.equal(run(resume=True).images, straight)


def test_a_full_disk_at_the_last_write(run, straight, tmp_path, monkeypatch):
    """There was room for the checkpoints of a run, and none for its result beside them."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(ImageSet, "save", full)
        run()
    assert folder.checkpoint.exists() and not folder.condensed.exists()
    assert folder.read_record()["status"] == "running"
    assert torch.equal(run(resume=True).images, straight)
    assert folder.read_record()["status"] == "finished"


def test_a_file_in_the_way(run, dataset, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ValueError, match="run is a file; expected a folder"):
        run()
    with pytest.raises(ValueError, match="run is a file; expected a folder"):
        condense_run(tmp_path / "run" / "below", dataset, CONFIG)
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(run, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="no permission to write"):
        run()


@pytest.mark.parametrize("name", ["checkpoint.pt", "run.json"])
def test_spoilt_files_of_a_run(run, tmp_path, name):
    run()
    (tmp_path / "run" / name).write_text("[1, 2")
    with pytest.raises(ValueError, match=f"{name} is not readable; begin anew with --overwrite"):
        run(resume=True)


def test_every_flipped_bit_of_a_checkpoint_is_found(run, tmp_path, monkeypatch):
    with ctrl_c_in(monkeypatch, LossLog, "note", 2), pytest.raises(Interrupted):
        run()
    folder = RunFolder(tmp_path / "run")
    content = folder.checkpoint.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 400):
        folder.checkpoint.write_bytes(with_bit_flipped(content, bit))
        with pytest.raises(ValueError, match="checkpoint.pt is not readable; begin anew with --overwrite") as caught:
            folder.read_checkpoint()
        assert "\n" not in str(caught.value), f"bit {bit}"


def test_runs_outside_the_main_thread(run, straight):
    results = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    assert torch.equal(results[0].images, straight)


def test_a_network_with_batch_statistics_goes_on_exactly(run, dataset, monkeypatch):
    config = CondenseConfig.preset("paper", **{**vars(CONFIG), "network": "convnet:width=4,depth=1,norm=batch"})
    with ctrl_c_in(monkeypatch, LossLog, "note", 3), pytest.raises(Interrupted):
        run(config)
    assert torch.equal(run(config, resume=True).images, condense(dataset.train, config, seed=3).images)


def test_a_loss_that_is_not_finite_ends_the_run(run):
    with pytest.raises(ValueError, match="the loss became (nan|inf) by iteration .*: lower lr_img"):
        run(CondenseConfig.preset("paper", **{**vars(CONFIG), "lr_img": 1e30}))


def test_several_processes_meet_soon_after_a_resume(run, monkeypatch):
    """The pace is that of this process's own iterations, however many were done before it."""
    with ctrl_c_in(monkeypatch, LossLog, "note", 4), pytest.raises(Interrupted):
        run()
    paces = []
    monkeypatch.setattr(RunRecorder, "_next_sync_after", lambda self, at: paces.append(at - self.last_sync) or at + 1)
    run(resume=True)
    assert paces[0] == 1


def test_a_resumed_run_keeps_its_number_of_snapshots(run, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    for asked, resumed, taken in ((6, None, 6), (0, None, 0), (6, 0, 2), (None, None, 6)):
        with ctrl_c_in(monkeypatch, LossLog, "note", 2), pytest.raises(Interrupted):
            run(snapshots=asked, overwrite=True)
        run(snapshots=resumed, resume=True)
        assert len(folder.snapshots) == taken
        assert folder.read_record()["settings"]["snapshots"] == next(n for n in (resumed, asked, 10) if n is not None)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"snapshots": -1}, "snapshots must be a whole number of at least 0, got -1"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be at least 0, got -1"),
        ({"checkpoint_seconds": float("nan")}, "checkpoint_seconds must be at least 0, got nan"),
    ],
)
def test_bad_numbers(run, tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        run(**option)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_images_of_any_number_of_channels(tmp_path, channels):
    images = torch.randint(0, 256, (6, channels, 8, 8), dtype=torch.uint8)
    pool = TensorPool(images, [0, 0, 0, 1, 1, 1], (0.5,) * channels, (0.25,) * channels)
    spec = DatasetSpec("many", pool.shape, ("0", "1"), pool.mean, pool.std, False)
    result = condense_run(tmp_path / "run", Dataset(pool, pool, spec), CONFIG, snapshots=2, quiet=True)
    assert result.images.shape == (4, channels, 8, 8)
    assert files(tmp_path / "run") == FINISHED


def test_a_folder_in_use_is_left_alone(run, tmp_path):
    with locked(tmp_path / "run"):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(ValueError, match=f"run is in use by process {os.getpid()} on"):
                run(**options)
        assert files(tmp_path / "run") == [".lock"]
    run()
    assert files(tmp_path / "run") == FINISHED


def test_a_folder_is_in_use_from_before_the_first_iteration_to_the_end(run, tmp_path, monkeypatch):
    """While the run is under way, nobody else gets it: neither before anything is written nor as the result is."""
    refused = []

    def trying(original):
        def wrapped(*args):
            with pytest.raises(ValueError, match="in use") as caught:
                run(overwrite=True)
            refused.append(caught.value)
            return original(*args)

        return wrapped

    monkeypatch.setattr(RunRecorder, "_begin", trying(RunRecorder._begin))
    monkeypatch.setattr(RunFolder, "write_result", trying(RunFolder.write_result))
    run()
    assert len(refused) == 2 and files(tmp_path / "run") == FINISHED


FOREIGN = ['{"name": "other", "settings": 3}', "[1, 2]", "3", "[1, 2", "name: other"]


@pytest.mark.parametrize("content", FOREIGN)
def test_the_record_of_another_program_is_never_overwritten(run, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(content)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=r"run.json is not a record of dm-replay; move it away, or choose"):
            run(**options)
    assert files(tmp_path / "run") == ["run.json"] and (tmp_path / "run" / "run.json").read_text() == content


def test_pictures_of_another_program_are_left_alone(run, tmp_path):
    (tmp_path / "run" / "images").mkdir(parents=True)
    other = tmp_path / "run" / "images" / "iter_000099.png"
    other.write_text("mine")
    run()
    assert other.read_text() == "mine"


def test_a_damaged_record_of_a_run_is_overwritten_when_asked(run, straight, tmp_path):
    run()
    (tmp_path / "run" / "run.json").write_text("[1, 2")
    assert torch.equal(run(overwrite=True).images, straight)
    assert RunFolder(tmp_path / "run").read_record()["status"] == "finished"


WRONG = [None, 3, {}, {"iteration": 2}, {"losses": 1, "samples": 2, "seconds": "x"}]


@pytest.mark.parametrize("lost", ["settings", "state", "loss_log"])
@pytest.mark.parametrize("instead", WRONG, ids=str)
def test_a_checkpoint_of_the_wrong_content(run, tmp_path, monkeypatch, lost, instead):
    with ctrl_c_in(monkeypatch, LossLog, "note", 2), pytest.raises(Interrupted):
        run()
    folder = RunFolder(tmp_path / "run")
    save_sealed({**folder.read_checkpoint(), lost: instead}, folder.checkpoint)
    with pytest.raises(ValueError, match="checkpoint.pt is not readable; begin anew with --overwrite"):
        run(resume=True)


ODD = [
    *(None, True, 0, -1, 1, 2, 3, 10**400, 0.5, float("nan"), float("inf"), "x", [], [1.0], {}, {"a": 1}, ()),
    *(torch.ones(()), torch.ones(0), torch.ones(1), torch.ones(2), torch.ones(2, dtype=torch.int64), torch.ones(2, 2)),
    *(torch.ones(3, 2, 3, 8, 8), torch.ones(3, 2, 3, 8, 7), torch.ones(3, 2, 3, 8, 8, dtype=torch.complex64)),
    *(torch.ones(3, 2, 3, 8, 8, dtype=torch.uint8), torch.ones(3, 2, 3, 8, 8).to_sparse()),
    *(torch.full((3, 2, 3, 8, 8), float("nan")), torch.full((2,), float("inf")), torch.ones(2, device="meta")),
]


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("part", ["state", "loss_log"])
def test_crafted_checkpoints(run, tmp_path, monkeypatch, part):
    """The run goes on, or says in one line that it cannot."""
    with ctrl_c_in(monkeypatch, LossLog, "note", 2), pytest.raises(Interrupted):
        run()
    folder = RunFolder(tmp_path / "run")
    kept, record = folder.read_checkpoint(), folder.record.read_text()
    refused = 0
    for name in (*kept[part], "seconds"):
        for value in ODD:
            folder.condensed.unlink(missing_ok=True)
            folder.checkpoint.unlink(missing_ok=True)
            folder.record.write_text(record)
            save_sealed({**kept, part: {**kept[part], name: value}}, folder.checkpoint)
            try:
                assert run(resume=True).images.isfinite().all()
            except ValueError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > len(ODD)


def test_labels_with_gaps_and_one_image_of_a_class(tmp_path):
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    pool = TensorPool(images, [4, 900, 900])
    spec = DatasetSpec("odd", pool.shape, ("4", "900"), None, None, False)
    config = CondenseConfig.preset("paper", **{**vars(CONFIG), "ipc": 1})
    result = condense_run(tmp_path / "run", Dataset(pool, pool, spec), config, quiet=True)
    assert result.labels.tolist() == [4, 900]
