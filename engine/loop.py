"""The engine's one loop: receive commands, plan a step, run it, commit it, send events.

Everything a request does happens here, in one thread; only compiling grammars does not (`GrammarDesk`). A fault that
belongs to one request ends that request and no other.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.batch import build_batch
from engine.bursts import DecodeBursts
from engine.config import ResolvedConfig
from engine.counters import Counters
from engine.grammar_desk import GrammarDesk, NoThreadFree, Served
from engine.link import ServerLink
from engine.mask_bank import MaskBank
from engine.mask_turns import MaskTurns
from engine.output import Ending, OutputStream
from engine.radix import RadixCache
from engine.runner import Runner
from engine.sampler import Draw, Sampler, sampling_fault
from engine.scheduler import Scheduler, StepPlan
from engine.sequence import Phase, Sequence
from engine.slots import SlotAllocator
from engine.wire import (
    Accepted,
    CacheFlushed,
    Cancel,
    Command,
    CompileGrammar,
    EngineConfig,
    EngineStats,
    Event,
    Finished,
    FlushCache,
    Generate,
    GrammarCompiled,
    GrammarInfo,
    GrammarList,
    ListGrammars,
    Ready,
    Rejected,
    Shutdown,
    Stats,
    Tokens,
    Usage,
)
from grammars.automaton import MaskRow
from grammars.compiler import CompiledGrammar, GrammarCompiler
from grammars.disk_cache import DiskCache
from grammars.spec import Backend, CompileOptions, GrammarError, GrammarSpec, OnUnsupported
from grammars.vocabulary import Vocabulary

log = logging.getLogger("espalier.engine")

HEARTBEAT_S = 1.0
IDLE_POLL_S = 0.2
COMPILING_POLL_S = 0.002
_FRUITFUL = 0.6
"""Of what a burst computed, what must have been of use for the next ones to be longer."""
GRAMMAR_WAIT_DEADLINES = 4
"""How many compilation deadlines a grammar waits for a free thread before its requests are refused as overload."""


@dataclass(slots=True)
class _Running:
    sequence: Sequence
    output: OutputStream


class EngineLoop:
    """Serves the commands of one link with one model.

    `run` blocks until a `Shutdown` arrives or `stop` is called from another thread or a signal handler.
    """

    def __init__(
        self, config: ResolvedConfig, link: ServerLink, between: Callable[[bool], None] = lambda is_idle: None
    ) -> None:
        """`between` is called between two steps, with whether there is nothing to do."""
        self._link, self._between = link, between
        options = self._options = config.asked
        self._runner = Runner(config)
        self.info = self._runner.info
        self._vocabulary = Vocabulary.from_pretrained(config.folder, size=self.info.vocab_size)
        self._slots = SlotAllocator(self.info.kv_cache_tokens)
        self._tree = RadixCache() if options.prefix_cache else None
        self._scheduler = Scheduler(
            self._slots,
            self._tree,
            max_running=options.max_running,
            max_batch_tokens=options.max_batch_tokens,
            chunked_prefill=options.chunked_prefill,
        )
        self._sampler = Sampler(self._vocabulary, config.torch_device)
        self._masks = MaskBank(self._vocabulary.size, config.torch_device)
        self._turns = MaskTurns()
        self._desk: GrammarDesk[str] = GrammarDesk(
            GrammarCompiler(
                self._vocabulary,
                default_backend=options.grammar_backend,
                cache_bytes=options.grammar_cache_bytes,
                deadline_s=options.grammar_deadline_s,
                memory_bytes=options.grammar_memory_bytes,
                num_workers=options.grammar_workers,
                disk=_disk_cache(options, self._vocabulary),
            ),
            num_threads=max(4, 2 * options.grammar_workers),
            max_wait_s=GRAMMAR_WAIT_DEADLINES * options.grammar_deadline_s,
            is_busy=lambda: bool(self._scheduler.running),
        )
        self._bursts = self._decode_bursts(config)
        self._burst_len = 1
        self._compiling: dict[str, Generate | CompileGrammar] = {}
        self._running: dict[str, _Running] = {}
        self._outbox: list[Event] = []
        self._counters = Counters()
        self._num_received = self._num_arrivals = 0
        self._stopping = False
        self._next_heartbeat = 0.0

    def run(self) -> None:
        self._desk.warm()
        self._link.send([Ready(self.info)])
        try:
            while not self._stopping:
                self.step()
        finally:
            self._desk.close()
            self._link.close()

    def stop(self) -> None:
        """Makes `run` return after the step under way."""
        self._stopping = True

    def step(self) -> None:
        """One turn: commands, grammars that are ready, one forward pass if there is work, events."""
        for command in self._link.poll(self._poll_timeout()):
            with self._only_hurting(getattr(command, "request_id", "")):
                self._handle(command)
        for served in self._desk.poll():
            with self._only_hurting(served.ticket):
                self._serve(served)
        self._flush()  # whoever was accepted or refused need not wait for the step
        self._between(not self._scheduler.has_work and not self._compiling)
        if not self._run_ahead():
            plan = self._scheduler.plan()
            if plan is not None:
                self._run_plan(plan)
        self._beat()
        self._flush()

    def _flush(self) -> None:
        if self._outbox:
            self._link.send(self._outbox)
            self._outbox = []

    # ---- commands

    def _handle(self, command: Command) -> None:
        match command:
            case Generate():
                self._receive(command)
            case Cancel(request_id):
                self._cancel(request_id)
            case CompileGrammar(request_id, spec, backend, on_unsupported):
                if (refusal := self._no_place(request_id)) is not None:
                    self._outbox.append(refusal)
                else:
                    self._compile(command, spec, backend, on_unsupported)
            case ListGrammars(request_id):
                grammars = [_grammar_info(g, cache_hit=True) for g in self._desk.compiler.grammars()]
                self._outbox.append(GrammarList(request_id, grammars))
            case FlushCache(request_id):
                self._outbox.append(CacheFlushed(request_id, self._scheduler.flush()))
            case Shutdown():
                self.stop()

    def _receive(self, command: Generate) -> None:
        if (refusal := self._refusal(command)) is not None:
            self._outbox.append(refusal)
            return
        command = self._seeded(command)
        if command.grammar is None:
            self._accept(command, None, cache_hit=False)
        else:
            self._compile(command, command.grammar, command.grammar_backend, command.on_unsupported)

    def _seeded(self, command: Generate) -> Generate:
        """With a seed, which depends on what came before it and not on when its grammar is ready."""
        number, self._num_received = self._num_received, self._num_received + 1
        if command.sampling.seed is not None:
            return command
        default = self._options.default_seed
        seed = random.getrandbits(63) if default is None else default + number
        return msgspec.structs.replace(command, sampling=msgspec.structs.replace(command.sampling, seed=seed))

    def _compile(
        self,
        command: Generate | CompileGrammar,
        spec: GrammarSpec,
        backend: Backend | None,
        on_unsupported: OnUnsupported,
    ) -> None:
        self._compiling[command.request_id] = command
        options = CompileOptions(backend or self._options.grammar_backend, on_unsupported)
        if (served := self._desk.submit(command.request_id, spec, options)) is not None:
            self._serve(served)

    def _no_place(self, request_id: str) -> Rejected | None:
        if request_id in self._running or request_id in self._compiling:
            return Rejected(request_id, "invalid_request", f"request id {request_id!r} is in use")
        num_waiting = len(self._scheduler.waiting) + len(self._compiling)
        if num_waiting >= self._options.max_waiting:
            return Rejected(request_id, "overloaded", f"{num_waiting} requests are waiting already")
        return None

    def _refusal(self, command: Generate) -> Rejected | None:
        request_id, prompt = command.request_id, command.prompt_ids
        if not prompt:
            return Rejected(request_id, "invalid_request", "the prompt has no tokens")
        if not 0 <= min(prompt) <= max(prompt) < self._vocabulary.size:
            message = f"prompt token ids must lie in 0 .. {self._vocabulary.size - 1}"
            return Rejected(request_id, "invalid_request", message)
        if (fault := sampling_fault(command.sampling, self._vocabulary.size)) is not None:
            return Rejected(request_id, "invalid_request", fault)
        if len(prompt) >= self.info.max_model_len:
            message = (
                f"the prompt has {len(prompt)} tokens; this server takes at most {self.info.max_model_len - 1} "
                f"and one of output (max_model_len {self.info.max_model_len})"
            )
            return Rejected(request_id, "context_length_exceeded", message)
        return self._no_place(request_id)

    def _serve(self, served: Served[str]) -> None:
        command = self._compiling.pop(served.ticket, None)
        if command is None:
            return
        match served.outcome:
            case GrammarError() as error:
                self._outbox.append(
                    Rejected(
                        served.ticket,
                        "grammar",
                        error.message,
                        grammar_code=error.code,
                        pointer=error.pointer,
                        line=error.line,
                        column=error.column,
                    )
                )
            case NoThreadFree() as error:
                self._outbox.append(Rejected(served.ticket, "overloaded", str(error)))
            case Exception() as error:
                raise error
            case CompiledGrammar() as grammar:
                if isinstance(command, Generate):
                    self._accept(command, grammar, cache_hit=served.cache_hit)
                else:
                    if command.pinned:
                        self._desk.compiler.pin(grammar.key)
                    info = _grammar_info(grammar, cache_hit=served.cache_hit)
                    self._outbox.append(GrammarCompiled(served.ticket, info))

    def _accept(self, command: Generate, grammar: CompiledGrammar | None, *, cache_hit: bool) -> None:
        assert command.sampling.seed is not None
        capacity = min(len(command.prompt_ids) + command.sampling.max_tokens, self.info.max_model_len)
        sequence = Sequence(
            request_id=command.request_id,
            prompt_ids=command.prompt_ids,
            sampling=command.sampling,
            seed=command.sampling.seed,
            arrival=self._num_arrivals,
            capacity=capacity,
            priority=command.priority,
            cursor=grammar.cursor() if grammar is not None else None,
        )
        self._num_arrivals += 1
        running = _Running(sequence, OutputStream(sequence, self._vocabulary))
        self._scheduler.add(sequence)
        self._running[command.request_id] = running
        self._counters.num_prompt_tokens += sequence.prompt_len
        info = _grammar_info(grammar, cache_hit=cache_hit) if grammar is not None else None
        self._outbox.append(Accepted(command.request_id, info))

    def _cancel(self, request_id: str) -> None:
        running = self._running.pop(request_id, None)
        if running is not None:
            self._scheduler.remove(running.sequence, keep_output=False)
        waiting = self._compiling.pop(request_id, None)
        if waiting is not None:
            self._desk.withdraw(request_id)
        self._counters.num_cancelled += running is not None or waiting is not None

    # ---- steps

    def _decode_bursts(self, config: ResolvedConfig) -> DecodeBursts | None:
        if not config.decode_burst:
            return None
        return DecodeBursts(
            self._runner,
            self._sampler,
            self._vocabulary,
            max_rows=self._options.max_running,
            table_bytes=self._options.grammar_table_bytes,
        )

    def _run_ahead(self) -> bool:
        """Has the device decode by itself, if it can; whether it did. Else nothing is in flight when this returns."""
        bursts, running = self._bursts, self._scheduler.running
        if bursts is None:
            return False
        if not self._is_steady():
            self._settle(bursts)
            return False
        for sequence in bursts.sequences:
            if sequence not in running:
                bursts.leave(sequence)
        if len(bursts.sequences) < len(running):
            self._settle(bursts)
            if not self._is_steady():
                return False
            bursts.start(list(running))
        if not self._has_masks(bursts.unset):
            self._settle(bursts)
            return False
        ahead = {s: bursts.ahead(s) for s in running}
        num_steps = min(self._burst_len, *(s.capacity - 1 - place for s, place in ahead.items()))
        has_room = all(self._scheduler.reserve_ahead(s, at + num_steps) for s, at in ahead.items())
        if num_steps <= 0 or not has_room:
            self._settle(bursts)
            return False
        try:
            bursts.launch(num_steps)
            if bursts.num_in_flight > 1:
                self._collect(bursts)
        except Exception as error:
            log.exception("a burst of %d steps failed", num_steps)
            bursts.stop()
            for sequence in list(running):
                self._end(sequence, Ending("error", message=f"the forward pass failed: {error}"))
        return True

    def _is_steady(self) -> bool:
        """Whether all that runs decodes, and the device can go on with it alone, nobody waiting for a place."""
        running = self._scheduler.running
        if not running or (self._scheduler.waiting and len(running) < self._options.max_running):
            return False
        return all(s.phase is Phase.DECODE and DecodeBursts.can_take(s) for s in running)

    def _has_masks(self, sequences: list[Sequence]) -> bool:
        """Whether the masks of sequences are built, without keeping the others waiting."""
        _, held = self._mask_rows(sequences)
        return not held

    def _settle(self, bursts: DecodeBursts) -> None:
        """Reads all that is in flight, and ends the batch."""
        while bursts.num_in_flight:
            self._collect(bursts)
        bursts.stop()

    def _collect(self, bursts: DecodeBursts) -> None:
        started = time.perf_counter()
        num_steps, gave = bursts.collect()
        for sequence, draws in gave:
            for draw in draws:
                known = self._running.get(sequence.request_id)
                if known is None or known.sequence is not sequence:
                    break
                if draw.token_id is not None:
                    self._scheduler.take(sequence, draw.token_id)
                with self._only_hurting(sequence.request_id):
                    self._emit(sequence, draw)
        num_drawn = sum(len(draws) for _, draws in gave)
        if num_drawn > _FRUITFUL * num_steps * len(gave):
            self._burst_len = min(2 * self._burst_len, self._runner.config.decode_burst)
        elif self._burst_len > 1:
            self._burst_len -= 1
        self._counters.decode_seconds += time.perf_counter() - started
        self._counters.num_forward_calls += num_steps
        self._counters.num_forward_tokens += num_drawn

    def _run_plan(self, plan: StepPlan) -> None:
        started = time.perf_counter()
        sampled, is_decode = plan.sampled, plan.is_decode
        try:
            logits = self._runner.forward(build_batch(plan), num_taken=self._desk.num_working)
            rows, held = self._mask_rows(sampled)
            if held:
                kept = [i for i, sequence in enumerate(sampled) if sequence not in held]
                sampled, rows, logits = [sampled[i] for i in kept], [rows[i] for i in kept], logits[kept]
            draws = self._sampler.sample(logits, sampled, self._masks.place(rows)) if sampled else []
        except Exception as error:
            log.exception("a forward pass over %d tokens failed", plan.num_tokens)
            for item in plan.slices:
                self._end(item.sequence, Ending("error", message=f"the forward pass failed: {error}"))
            return
        drawn = {s: d.token_id for s, d in zip(sampled, draws, strict=True) if d.token_id is not None}
        self._scheduler.commit(plan, drawn, held)
        for sequence, draw in zip(sampled, draws, strict=True):
            if sequence.request_id in self._running:
                with self._only_hurting(sequence.request_id):
                    self._emit(sequence, draw)
        elapsed = time.perf_counter() - started
        self._turns.end_step(elapsed, self._scheduler.running)
        if is_decode:
            self._counters.decode_seconds += elapsed
        else:
            self._counters.prefill_seconds += elapsed
        self._counters.num_forward_calls += 1
        self._counters.num_forward_tokens += plan.num_tokens

    def _mask_rows(self, sequences: list[Sequence]) -> tuple[list[MaskRow | None], set[Sequence]]:
        """A row for each sequence that has a grammar, and those whose row is not built yet."""
        started = time.perf_counter()
        rows: dict[Sequence, MaskRow | None] = {}

        def ask(sequence: Sequence, *, others_wait: bool) -> None:
            with self._only_hurting(sequence.request_id):
                rows[sequence] = self._turns.row(sequence, others_wait=others_wait)

        num_running = len(self._scheduler.running)
        for sequence in self._turns.in_turn([s for s in sequences if s.cursor is not None]):
            ask(sequence, others_wait=num_running > 1)
        held = [sequence for sequence, row in rows.items() if row is None]
        if len(held) == num_running > 1:
            ask(held[0], others_wait=False)
        self._counters.mask_seconds += time.perf_counter() - started
        held = [sequence for sequence, row in rows.items() if row is None]
        self._counters.num_masked_steps += len(rows) - len(held)
        return [rows.get(sequence) for sequence in sequences], set(held)

    def _emit(self, sequence: Sequence, draw: Draw) -> None:
        if draw.token_id is None:
            self._end(sequence, Ending("error", message=draw.fault))
            return
        if sequence.cursor is not None:
            started = time.perf_counter()
            taken = sequence.cursor.advance(draw.token_id)
            self._counters.mask_seconds += time.perf_counter() - started
            if not taken:
                message = f"the grammar refused token {draw.token_id}, which its mask allows"
                self._end(sequence, Ending("error", message=message))
                return
        self._counters.num_generated_tokens += 1
        text, ending = self._running[sequence.request_id].output.push(draw.token_id)
        logprobs = [draw.logprobs] if draw.logprobs is not None else None
        self._outbox.append(Tokens(sequence.request_id, [draw.token_id], text, logprobs))
        if ending is not None:
            self._end(sequence, ending)

    def _end(self, sequence: Sequence, ending: Ending) -> None:
        if sequence.request_id not in self._running:
            return
        complete: bool | None = None
        if sequence.cursor is not None:  # one that has just raised is not asked again
            complete = ending.reason != "error" and sequence.cursor.is_complete
        del self._running[sequence.request_id]
        self._scheduler.remove(sequence)
        cached = sequence.cached_len or 0
        self._counters.num_cached_prompt_tokens += cached
        self._outbox.append(
            Finished(
                sequence.request_id,
                ending.reason,
                Usage(sequence.prompt_len, sequence.output_len, cached),
                grammar_complete=complete,
                stop_match=ending.stop_match,
                message=ending.message,
            )
        )

    @contextmanager
    def _only_hurting(self, request_id: str) -> Iterator[None]:
        """Turns an exception into the end of one request."""
        try:
            yield
        except Exception as error:
            log.exception("request %s failed", request_id)
            message = f"{type(error).__name__}: {error}"
            if (running := self._running.get(request_id)) is not None:
                self._end(running.sequence, Ending("error", message=message))
            else:
                self._compiling.pop(request_id, None)
                self._outbox.append(Rejected(request_id, "internal", message))

    # ---- time

    def _poll_timeout(self) -> float:
        if self._scheduler.has_work:
            return 0.0
        return COMPILING_POLL_S if self._compiling else IDLE_POLL_S

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_S
            self._outbox.append(Stats(self.stats()))

    def stats(self) -> EngineStats:
        compiler = self._desk.compiler.stats
        evictable = self._tree.num_evictable if self._tree is not None else 0
        gauges = EngineStats(
            num_running=len(self._scheduler.running),
            num_waiting=len(self._scheduler.waiting),
            num_waiting_tokens=sum(s.num_tokens for s in self._scheduler.waiting),
            num_compiling=len(self._compiling),
            kv_used_tokens=self._slots.num_used - evictable,
            kv_cached_tokens=evictable,
            kv_total_tokens=self._slots.num_slots,
            num_preemptions=self._scheduler.num_preemptions,
            grammar_compiles=compiler.num_compiles,
            grammar_compile_seconds=compiler.compile_seconds,
            grammar_cache_hits=compiler.num_hits,
            grammar_cache_misses=compiler.num_misses,
            grammar_cache_evictions=compiler.num_evictions,
            grammar_cache_bytes=compiler.nbytes,
            grammar_errors=compiler.num_errors,
            grammar_disk_hits=compiler.disk.num_hits,
            grammar_disk_misses=compiler.disk.num_misses,
            grammar_disk_broken=compiler.disk.num_broken,
            grammar_disk_bytes=compiler.disk.nbytes,
        )
        return msgspec.structs.replace(gauges, **dataclasses.asdict(self._counters))


def _disk_cache(options: EngineConfig, vocabulary: Vocabulary) -> DiskCache | None:
    if options.grammar_cache_dir is None:
        return None
    return DiskCache(Path(options.grammar_cache_dir), options.grammar_disk_bytes, vocabulary)


def _grammar_info(grammar: CompiledGrammar, *, cache_hit: bool) -> GrammarInfo:
    return GrammarInfo(
        key=grammar.key,
        kind=grammar.kind,
        backend=grammar.backend,
        compile_ms=grammar.compile_ms,
        nbytes=grammar.nbytes,
        num_states=grammar.num_states,
        diagnostics=list(grammar.diagnostics),
        num_uses=grammar.num_uses,
        cache_hit=cache_hit,
    )
