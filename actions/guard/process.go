package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const (
	// threads are enough: the loop, and what runs beside it.
	threads = 2
	// memory is when garbage is collected; a guard makes next to none.
	memory = 64 << 20
	// touched is how much of the heap is touched beforehand: releasing 1,000 addresses
	// takes less than 2 MB.
	touched = 8 << 20
	// lastVictim is the score that the kernel never picks.
	lastVictim = "-1000"
	// pendingLines is how much of the log waits for a slow reader.
	pendingLines = 256
)

// prepare makes this process one that is there when it is needed: no collection,
// no page that must be read first, no signal that ends it. What is not permitted
// is said.
func prepare(log zerolog.Logger) (undo func()) {
	runtime.GOMAXPROCS(threads)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memory)
	// Caught, not ignored: an ignored signal is inherited by hooks.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
	if err := lockMemory(); err != nil {
		log.Warn().Err(err).Str("hint", "CAP_IPC_LOCK, or LimitMEMLOCK=infinity").Msg("the guard's memory is not locked: it may be slow when it is needed")
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(lastVictim), 0o644); err != nil {
		log.Warn().Err(err).Str("hint", "CAP_SYS_RESOURCE").Msg("the guard may be killed for want of memory")
	}
	return func() { signal.Stop(caught) }
}

// lockMemory keeps in memory what the guard has, and reads in the whole program,
// which must not come from a disk that has stalled. Of the heap, of which the
// runtime maps far more than it uses, a part is made ready; the rest as it is used:
// all of it would be 130 MB.
func lockMemory() error {
	warm := make([]byte, touched)
	for i := 0; i < len(warm); i += os.Getpagesize() {
		warm[i] = 1
	}
	runtime.KeepAlive(warm)
	runtime.GC() // gives it back to the heap, not to the system
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	maps, readErr := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var mode, offset, device string
		var inode uint64
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %d", &from, &to, &mode, &offset, &device, &inode); n < 6 || inode == 0 {
			continue
		}
		if _, _, no := unix.Syscall(unix.SYS_MLOCK, from, to-from, 0); no != 0 {
			_, _, no = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_POPULATE_READ)
			if no != 0 && err == nil {
				err = no
			}
		}
	}
	return errors.Join(err, readErr)
}

// hangs reports whether no thread of a killed process returns to user space: each
// is dead or in the kernel's uninterruptible wait.
func hangs(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	names, err := os.ReadDir(dir)
	if err != nil {
		return false // its end shows otherwise
	}
	for _, n := range names {
		if _, err := strconv.Atoi(n.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile(dir + "/" + n.Name() + "/stat")
		if err != nil {
			continue // this one is gone
		}
		if _, after, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") ")); !ok ||
			len(after) == 0 || !bytes.ContainsRune([]byte("DZXx"), rune(after[0])) {
			return false
		}
	}
	return true
}

// writer hands lines on without ever waiting: a guard must not hang in its log.
type writer struct{ lines chan []byte }

// NewWriter makes a writer that never blocks; lines that nobody takes are lost.
// flush waits, no longer than the function it is given says, until all is written.
func NewWriter(to io.Writer) (w io.Writer, flush func(<-chan struct{})) {
	q := &writer{lines: make(chan []byte, pendingLines)}
	idle := make(chan chan struct{})
	go func() {
		for {
			select {
			case line := <-q.lines:
				_, _ = to.Write(line) // nobody is left to be told
			case done := <-idle:
				for len(q.lines) > 0 {
					_, _ = to.Write(<-q.lines)
				}
				close(done)
			}
		}
	}()
	return q, func(limit <-chan struct{}) {
		done := make(chan struct{})
		select {
		case idle <- done:
		case <-limit:
			return
		}
		select {
		case <-done:
		case <-limit:
		}
	}
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	select {
	case w.lines <- bytes.Clone(p):
	default:
	}
	return len(p), nil
}
