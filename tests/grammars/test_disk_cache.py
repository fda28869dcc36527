"""Records of grammars in files: whole or not at all, bounded, shared by processes, and never in anybody's way."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from grammar_cases import walk
from record_cases import SPECS, Met, masks

from grammars.compiler import GrammarCompiler
from grammars.disk_cache import DiskCache
from grammars.record_keeper import RecordKeeper
from grammars.spec import JsonSchema, Regex
from grammars.vocabulary import Vocabulary
from grammars.walk_record import Entry, WalkRecord

PROGRAM = Path(__file__).parent / "record_cases.py"
SEEDS = ("1", "2", "3")


def record(vocabulary: Vocabulary, seed: int = 0, num_rows: int = 3) -> WalkRecord:
    rows = np.random.default_rng(seed).integers(0, 1 << 30, (num_rows, vocabulary.mask_words), np.int32)
    entries = [Entry(0, (1, 2), None), None, Entry(2, None, ()), Entry(1, None, None)]
    return WalkRecord([(0, b"a"), (1, b"\xff"), (0, b"b")], entries, rows)


@pytest.fixture
def disk(tmp_path: Path, vocabulary: Vocabulary) -> DiskCache:
    return DiskCache(tmp_path / "made" / "later", 1 << 20, vocabulary)


def equal(left: WalkRecord | None, right: WalkRecord) -> bool:
    return left is not None and left[:2] == right[:2] and np.array_equal(left.rows, right.rows)


def test_a_record_comes_back_as_it_was(disk: DiskCache, vocabulary: Vocabulary) -> None:
    assert disk.load("k") is None
    disk.save("k", record(vocabulary))
    assert equal(disk.load("k"), record(vocabulary))
    assert disk.load("other") is None
    assert (disk.stats.num_hits, disk.stats.num_misses, disk.stats.num_broken) == (1, 2, 0)
    assert disk.stats.nbytes == disk.path("k").stat().st_size
    assert disk.path("k").stat().st_mode & 0o077 == 0
    assert disk.path("k").parent.stat().st_mode & 0o077 == 0


def test_another_vocabulary_or_other_options_have_records_of_their_own(
    tmp_path: Path, vocabulary: Vocabulary, disk: DiskCache
) -> None:
    other = Vocabulary([*vocabulary.tokens[:-1], b"zz"], vocabulary.eos_ids, vocabulary.special_ids)
    assert DiskCache(tmp_path, 1, other).path("k").name != disk.path("k").name
    compiler = GrammarCompiler(vocabulary)
    keys = {compiler.key(JsonSchema("{}")), compiler.key(JsonSchema("{}", "compact")), compiler.key(Regex("{}"))}
    assert len({disk.path(key) for key in keys}) == 3


@pytest.mark.parametrize("at", [0, 31, 40, 200, -1])
def test_a_file_with_a_wrong_bit_is_deleted_counted_and_said(
    disk: DiskCache, vocabulary: Vocabulary, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    disk.save("k", record(vocabulary))
    content = bytearray(disk.path("k").read_bytes())
    content[at] ^= 4
    disk.path("k").write_bytes(content)
    assert disk.load("k") is None
    assert not disk.path("k").exists()
    assert disk.stats.num_broken == 1
    assert str(disk.path("k")) in caplog.text


@pytest.mark.parametrize("length", [0, 10, 32, 100])
def test_a_file_that_was_cut_off_is_broken(disk: DiskCache, vocabulary: Vocabulary, length: int) -> None:
    disk.save("k", record(vocabulary))
    disk.path("k").write_bytes(disk.path("k").read_bytes()[:length])
    assert disk.load("k") is None
    assert disk.stats.num_broken == 1


def test_a_file_under_the_name_of_another_grammar_is_broken(disk: DiskCache, vocabulary: Vocabulary) -> None:
    disk.save("k", record(vocabulary))
    os.replace(disk.path("k"), disk.path("l"))
    assert disk.load("l") is None
    assert disk.stats.num_broken == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": [(1, b"a"), (1, b"b"), (0, b"c")]},
        {"steps": [(0, b"a")]},
        {"entries": [Entry(3, None, None), None, None, None]},
        {"entries": [Entry(0, (1 << 20,), None), None, None, None]},
        {"entries": [Entry(0, None, (-1,)), None, None, None]},
        {"rows": np.zeros((3, 2), np.int32)},
    ],
)
def test_parts_that_do_not_fit_together_are_broken_under_any_checksum(
    disk: DiskCache, vocabulary: Vocabulary, wrong: dict[str, object]
) -> None:
    disk.save("k", record(vocabulary)._replace(**wrong))
    assert disk.load("k") is None
    assert disk.stats.num_broken == 1


def test_what_was_used_longest_ago_goes_when_there_is_no_room(tmp_path: Path, vocabulary: Vocabulary) -> None:
    DiskCache(tmp_path, 1 << 20, vocabulary).save("a", record(vocabulary))
    size = next(tmp_path.iterdir()).stat().st_size
    disk = DiskCache(tmp_path, 3 * size + size // 2, vocabulary)
    for age, key in ((30, "b"), (20, "c")):
        disk.save(key, record(vocabulary))
        os.utime(disk.path(key), (1e9 - age, 1e9 - age))
    os.utime(disk.path("a"), (1e9 - 40, 1e9 - 40))
    assert disk.load("a") is not None  # which is a use
    unfinished, other = tmp_path / "old.part", tmp_path / "notes.txt"
    for file in (unfinished, other):
        file.write_bytes(b"x" * 4 * size)
        os.utime(file, (1e9, 1e9))
    disk.save("d", record(vocabulary))
    assert {key for key in "abcd" if disk.path(key).exists()} == {"a", "c", "d"}
    assert disk.stats.nbytes == 3 * size
    assert (unfinished.exists(), other.exists()) == (False, True)


def test_writing_reading_and_deleting_at_once_gives_whole_records_or_none(
    tmp_path: Path, vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture
) -> None:
    written = record(vocabulary)
    caches = [DiskCache(tmp_path, 4000, vocabulary) for _ in range(4)]

    def use(disk: DiskCache) -> None:
        rng = random.Random(caches.index(disk))
        for _ in range(150):
            key = rng.choice("abcdefgh")
            if (found := disk.load(key)) is not None:
                assert equal(found, written)
            disk.save(key, written)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, caches))
    assert sum(disk.stats.num_hits for disk in caches) > 0
    assert sum(disk.stats.num_broken for disk in caches) == 0
    assert caplog.messages == []
    caches[0].trim()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == caches[0].stats.nbytes <= 4000


def test_a_folder_that_cannot_be_is_said_once_and_no_compilation_fails(
    tmp_path: Path, vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    disk = DiskCache(tmp_path / "file" / "folder", 1 << 20, vocabulary)
    compiler = GrammarCompiler(vocabulary, default_backend="native", disk=disk)
    for pattern in ("a", "b", "c"):
        assert compiler.compile(Regex(pattern)).cursor().advance(ord(pattern))
    compiler.close()
    said = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert len(said) == len({line.partition(":")[0] for line in said}) > 0


def test_a_write_that_fails_leaves_the_file_before_and_no_litter(
    disk: DiskCache, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.save("k", record(vocabulary))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("grammars.disk_cache.os.replace", full)
    disk.save("k", record(vocabulary, seed=1))
    monkeypatch.undo()
    assert equal(disk.load("k"), record(vocabulary))
    assert [path.name for path in disk.path("k").parent.iterdir()] == [disk.path("k").name]


def test_a_grammar_that_leaves_the_cache_is_written_and_found_again(disk: DiskCache, vocabulary: Vocabulary) -> None:
    compiler = GrammarCompiler(vocabulary, default_backend="native", cache_bytes=0, disk=disk)
    for pattern in ("a[bc]", "d[ef]", "g[hi]"):
        compiler.compile(Regex(pattern))
    compiler.close()
    assert compiler.stats.num_evictions == 2
    again = GrammarCompiler(vocabulary, default_backend="native", disk=disk)
    for pattern in ("a[bc]", "d[ef]", "g[hi]"):
        recorded = again.compile(Regex(pattern)).recorded
        assert recorded is not None
        assert recorded.num_built == 0
    again.close()
    assert again.stats.disk.num_hits == 3


def test_a_grammar_is_written_while_it_is_used(disk: DiskCache, vocabulary: Vocabulary) -> None:
    grammar = GrammarCompiler(vocabulary, default_backend="native").compile(SPECS["tree"])
    keeper = RecordKeeper(disk, lambda: [grammar], every_s=0.001)
    num_states: list[int] = []
    for seed in range(20):
        walk(grammar.cursor(), vocabulary, random.Random(seed))
        if (record := disk.load(grammar.key)) is not None:
            num_states.append(len(record.entries))
    keeper.close()
    record = disk.load(grammar.key)
    assert record is not None
    assert num_states == sorted(num_states)
    assert num_states[0] < len(record.entries)
    written = disk.path(grammar.key).stat()
    keeper = RecordKeeper(disk, lambda: [grammar])
    keeper.close()
    assert disk.path(grammar.key).stat().st_ino == written.st_ino  # nothing new was found out


def start(folder: Path, seed: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(PROGRAM.parents[2])}
    command = [sys.executable, str(PROGRAM), str(folder), *SEEDS]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def outcome(process: subprocess.Popen[bytes]) -> Met:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return msgspec.json.decode(output, type=Met)


def test_processes_share_a_folder_and_see_the_masks_of_one_that_has_none(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    both = [start(tmp_path, seed) for seed in (1, 2)]
    plain = GrammarCompiler(vocabulary, default_backend="native")
    expected = masks(plain, [int(seed) for seed in SEEDS])
    plain.close()
    assert [outcome(process).masks for process in both] == [expected.masks] * 2
    later = outcome(start(tmp_path, 3))
    assert later.masks == expected.masks
    assert (later.num_built, later.disk.num_hits, later.disk.num_broken) == (0, len(SPECS), 0)
