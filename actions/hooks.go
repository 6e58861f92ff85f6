package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

const (
	// DefaultGrace is how long a hook's process group has between TERM and KILL.
	DefaultGrace = 2 * time.Second
	// DefaultDrain is how long the output is waited for after a hook's own
	// process has ended; a service that it started may hold it open for ever.
	DefaultDrain = 250 * time.Millisecond
)

// HooksConfig is what a Hooks is made of; zero durations mean the defaults.
type HooksConfig struct {
	Self  fsm.MemberID
	Grace time.Duration // from TERM to KILL, counted after the deadline
	Drain time.Duration
	// Token is the newest token that hooks of a slot were ever given on this machine
	// (ledger.List): what they are given never goes back. nil: it is the job's.
	Token func(fsm.Key) fsm.Token
	Log   zerolog.Logger
}

// Hooks is the Driver that starts a system's `alive` and `down` commands:
// directly, without a shell, each in a process group of its own, with argv[1]
// the item, argv[2] the system's config as JSON, the daemon's environment and
// working directory, and FLIP_ITEM, FLIP_SYSTEM, FLIP_RANK, FLIP_MEMBER,
// FLIP_TOKEN, FLIP_REASON and, if there was a holder before, FLIP_PREVIOUS; FLIP_RUN is what
// the Ledger named this run. Exit status 0 is success. A hook has ordinary scheduling, also where the daemon's is
// real-time.
//
// When its context ends, or when it fails, what lives of a hook's group gets
// TERM, and KILL after the grace, and so does what has left the group, if the
// Ledger has named the run. After success all is left alone: what a hook started
// in the background lives on.
type Hooks struct {
	cfg HooksConfig

	mu      sync.Mutex
	closed  bool
	readers map[*output]struct{} // of output that something still holds open
	wg      sync.WaitGroup       // of readers
}

// NewHooks makes a Hooks.
func NewHooks(cfg HooksConfig) *Hooks {
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Drain <= 0 {
		cfg.Drain = DefaultDrain
	}
	return &Hooks{cfg: cfg, readers: map[*output]struct{}{}}
}

// Acquire runs `alive`.
func (h *Hooks) Acquire(ctx context.Context, job fsm.Job) error {
	return h.run(ctx, "alive", job.Alive, "start_timeout", job)
}

// Release runs `down`.
func (h *Hooks) Release(ctx context.Context, job fsm.Job) error {
	return h.run(ctx, "down", job.Down, "stop_timeout", job)
}

// Close ends the reading of output that services started by hooks still hold
// open; they get SIGPIPE when they write again. Nothing may run any more.
func (h *Hooks) Close() error {
	h.mu.Lock()
	h.closed = true
	for o := range h.readers {
		o.close()
	}
	h.mu.Unlock()
	h.wg.Wait()
	return nil
}

// run starts one of an item's hooks and waits for its end. A system without the
// command needs nothing done.
func (h *Hooks) run(ctx context.Context, verb, command, timeout string, job fsm.Job) error {
	if command == "" {
		return nil
	}
	log := h.cfg.Log.With().Str("system", string(job.System)).Str("item", string(job.Item)).Logger()
	return h.exec(ctx, call{verb, command, timeout, argv(command, job), h.environ(job, Run(ctx))}, log)
}

// call is one start of a hook.
type call struct {
	verb, command, timeout string // timeout is the key that the deadline comes from
	argv, env              []string
}

// exec starts a hook and waits for its end.
func (h *Hooks) exec(ctx context.Context, c call, log zerolog.Logger) error {
	path, err := find(c.command)
	if err != nil {
		return fmt.Errorf("start %s hook: %w", c.verb, err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s hook %s: %w", c.verb, c.command, err)
	}
	p, err := start(ctx, path, c.argv, c.env, write)
	_ = write.Close() // the hook has it now; nothing was written here
	if err != nil {
		_ = read.Close()
		return fmt.Errorf("start %s hook %s: %w", c.verb, c.command, explain(path, err))
	}
	log = log.With().Str("hook", c.command).Int("pid", p.pid).Logger()
	out := newOutput(read, log)
	h.read(out)

	began := time.Now()
	ended := p.wait(ctx, h.cfg.Grace, out)
	if name := Run(ctx); name != "" && (ended.interrupted || ended.status != 0) && !ended.stuck {
		// What has left the hook's process group may bring the item up after its `down`.
		if err := EndRuns(context.WithoutCancel(ctx), []string{name}, h.cfg.Grace, log); err != nil {
			log.Error().Err(err).Msg("something that the failed hook started lives on")
		}
	}
	h.drain(out)
	return h.result(ctx, fmt.Sprintf("%s hook %s", c.verb, c.command), c.timeout, time.Since(began), ended, out)
}

// result words how a hook ended.
func (h *Hooks) result(ctx context.Context, what, timeout string, took time.Duration, ended ending, out *output) error {
	took = took.Round(time.Millisecond)
	switch {
	case ended.stuck:
		return fmt.Errorf("%s does not end, not even by SIGKILL (process %d hangs in the kernel: disk or network file system?): %w",
			what, ended.pid, context.Cause(ctx))
	case ended.interrupted && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return fmt.Errorf("%s did not end within its %s and was ended after %v: %w%s",
			what, timeout, took, context.DeadlineExceeded, out.tail())
	case ended.interrupted:
		return fmt.Errorf("%s was ended after %v: %w", what, took, context.Cause(ctx))
	case ended.err != nil:
		return fmt.Errorf("wait for %s: %w", what, ended.err)
	case ended.status.Signaled():
		return fmt.Errorf("%s was killed by %v%s", what, ended.status.Signal(), out.tail())
	case ended.status.ExitStatus() != 0:
		return fmt.Errorf("%s failed: exit status %d%s%s", what, ended.status.ExitStatus(), hint(ended.status.ExitStatus()), out.tail())
	default:
		return nil
	}
}

// hint explains the two statuses that shells give a meaning.
func hint(status int) string {
	switch status {
	case 126:
		return " (a command in it cannot be executed)"
	case 127:
		return " (a command in it was not found: is PATH the daemon's?)"
	default:
		return ""
	}
}

// read starts reading a hook's output.
func (h *Hooks) read(out *output) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers[out] = struct{}{}
	if h.closed {
		out.close()
	}
	h.wg.Go(func() {
		out.read()
		h.mu.Lock()
		delete(h.readers, out)
		h.mu.Unlock()
	})
}

// drain waits a moment for the rest of the output. A background process that
// holds it open is read on: to close it would kill that process by SIGPIPE.
func (h *Hooks) drain(out *output) {
	timer := time.NewTimer(h.cfg.Drain)
	defer timer.Stop()
	select {
	case <-out.done:
	case <-timer.C:
		out.log.Warn().Msg("the hook has ended but something it started holds its output open; redirect that, or it ends with this daemon")
	}
}

func argv(command string, job fsm.Job) []string {
	config := string(job.Config)
	if config == "" {
		config = "{}"
	}
	return []string{command, string(job.Item), config}
}

// daemonsOwn are systemd's words with the daemon itself: a service that a hook
// starts would take them for its own and speak for the daemon.
var daemonsOwn = []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

// hooksOwn are flip's own variables for hooks: a daemon that was itself started by
// a hook hands none of them on.
var hooksOwn = []string{
	"FLIP_ITEM", "FLIP_SYSTEM", "FLIP_RANK", "FLIP_MEMBER", "FLIP_TOKEN", "FLIP_REASON", "FLIP_PREVIOUS",
	"FLIP_FENCE_MEMBER", "FLIP_FENCE_EPOCH", "FLIP_FENCE_MACHINE", runVariable,
}

// environ is the daemon's environment with an item's variables, of which no
// inherited one may shine through.
func (h *Hooks) environ(job fsm.Job, run string) []string {
	token := job.Token
	if h.cfg.Token != nil {
		token = max(token, h.cfg.Token(job.Key))
	}
	own := []string{
		"FLIP_ITEM=" + string(job.Item),
		"FLIP_SYSTEM=" + string(job.System),
		"FLIP_RANK=" + strconv.Itoa(job.Rank),
		"FLIP_MEMBER=" + string(h.cfg.Self),
		"FLIP_TOKEN=" + strconv.FormatUint(uint64(token), 10),
		"FLIP_REASON=" + job.Reason,
	}
	if job.Previous != "" {
		own = append(own, "FLIP_PREVIOUS="+string(job.Previous))
	}
	if run != "" {
		own = append(own, runVariable+"="+run)
	}
	return environ(own)
}

// environ is the daemon's environment without its dealings with systemd and
// anything that is named like flip's own variables for hooks, and those in own.
func environ(own []string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !slices.Contains(daemonsOwn, name) && !slices.Contains(hooksOwn, name) {
			env = append(env, kv)
		}
	}
	return append(env, own...)
}
